/**
 * Texts packed into rows: what a method takes beside what the texts say, from where each of them stands; as
 * edge_runtime/data/packed.py.
 *
 * Axes: B texts at most, R rows of S places, N = R*S, T texts of a call, n tokens of a text. The contract says which texts a
 * call takes and where they stand ([pack]); here are the arrays that follow. Places that hold no token are 0 in all of them.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Capacity
import org.edgeexperts.wire.MethodSpec
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.Stand
import org.edgeexperts.wire.Tier
import org.edgeexperts.wire.pack

/** What a step of a tier has room for. */
internal fun capacityOf(tier: Tier): Capacity = Capacity(tier.rows.toInt(), tier.seqLen.toInt(), tier.batchSize.toInt())

/** What a call of a method has room for, read from its positions [R, S], and readout [B, N] where it has one (else B = R). */
internal fun capacityOf(spec: MethodSpec): Capacity {
    val shapes = spec.inputs.associate { it.name to it.shape.map(Long::toInt) }
    val (rows, sequence) = shapes.getValue(Ports.POSITIONS)
    return Capacity(rows, sequence, shapes[Ports.READOUT]?.first() ?: rows)
}

/**
 * Where the T texts of a call stand.
 *
 * @property capacity of the call.
 * @property stands of each text; one without tokens stands nowhere.
 */
internal class Packed private constructor(val capacity: Capacity, val stands: List<Stand>) {
    /** T. */
    val size: Int get() = stands.size

    /** Places that hold a token. */
    val tokens: Int get() = stands.sumOf(Stand::count)

    /** Tells slot and stand of each text that has tokens, in order. */
    inline fun each(act: (Int, Stand) -> Unit) =
        stands.forEachIndexed { slot, stand -> if (stand.count > 0) act(slot, stand) }

    /** Returns `positions` [R, S] and `attend` [R, S, S] by name: what every method takes of where texts stand. */
    fun frame(): Tensors {
        val (rows, length) = capacity.rows to capacity.sequence
        val positions = LongArray(capacity.places)
        val attend = FloatArray(capacity.places * length)
        each { _, stand ->
            val start = stand.row * length
            for (place in stand.first until stand.end) {
                positions[start + place] = (place - stand.first).toLong()
                val line = (start + place) * length
                attend.fill(1f, line + stand.first, line + stand.end)
            }
        }
        return mapOf(
            Ports.POSITIONS to TensorValue.Longs(places(), positions),
            Ports.ATTEND to floatsOf(attend, rows, length, length),
        )
    }

    /** Returns [R, S]: the n ids of each text at its places. */
    fun spread(ids: List<LongArray>): TensorValue.Longs {
        val spread = LongArray(capacity.places)
        each { slot, stand -> ids[slot].copyInto(spread, placeOf(stand), 0, stand.count) }
        return TensorValue.Longs(places(), spread)
    }

    /** Returns [R, S]: 1 at tokens. */
    fun mask(): TensorValue.Floats {
        val mask = FloatArray(capacity.places)
        each { _, stand -> mask.fill(1f, placeOf(stand), placeOf(stand) + stand.count) }
        return TensorValue.Floats(places(), mask)
    }

    /** Returns the readout [B, N] by which a text is the mean of its tokens: 1/n at each. */
    fun means(): TensorValue.Floats {
        val readout = FloatArray(capacity.batch * capacity.places)
        each { slot, stand ->
            val from = slot * capacity.places + placeOf(stand)
            readout.fill(1f / stand.count, from, from + stand.count)
        }
        return floatsOf(readout, capacity.batch, capacity.places)
    }

    /** Returns the number of a text's first place among all N. */
    fun placeOf(stand: Stand): Int = stand.row * capacity.sequence + stand.first

    private fun places() = longArrayOf(capacity.rows.toLong(), capacity.sequence.toLong())

    companion object {
        /**
         * Returns the call that the first of some texts make: as many as the contract's rule takes, at least one.
         *
         * @param counts tokens of the next texts, B of them or fewer at the end of the data; longer ones are cut at S.
         */
        fun next(counts: List<Int>, capacity: Capacity): Packed = Packed(capacity, pack(counts, capacity))

        /** Returns a call of at most R texts, each alone at the beginning of a row. */
        fun inOwnRows(counts: List<Int>, capacity: Capacity): Packed =
            Packed(capacity, counts.mapIndexed { row, count -> Stand(row, 0, count) })
    }
}
