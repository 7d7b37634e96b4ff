/**
 * What a training method takes in place of token ids: prefixes of texts, as the frozen layers of the trunk make them.
 *
 * Axes: R rows of S places of a trunk method, n tokens of a text, d width, g values that share a scale, k layers of L that a
 * tier trains. A prefix is rounded
 * before it is used, as edge_runtime/data/trunk.py does: so a run ends with the same bytes whether its prefixes were found in
 * the cache or computed. Only a text's own tokens are kept, and they say how many it has: a text that is found is not cut
 * into tokens.
 *
 * Below a tier of fewer layers than are adapted, the trunk runs the experts of the layers below as a version has them. Their
 * values are part of a prefix's key, so no prefix of another version is ever used, and name its generation in the cache, so
 * that older ones are removed.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.Stand
import org.edgeexperts.wire.Tier
import org.edgeexperts.wire.encodeValues
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

private const val GROUP = 64
private const val LEAST_SCALE = 1e-12f
private const val GENERATION_DIGITS = 32
private const val NANOS_PER_MS = 1e6

/** Prefixes by key and generation (empty: good for ever); what is not there is computed again. */
internal interface PrefixCache {
    fun get(key: ByteArray, generation: String): ByteArray?

    fun put(key: ByteArray, body: ByteArray, generation: String)

    /** Removes what belongs to other generations than these; what belongs to none stays. */
    fun keepGenerations(kept: Set<String>)
}

/** Returns the generation of prefixes above these experts: changed by any bit of them; empty where there are none. */
internal fun generationOf(lower: Floats): String {
    if (lower.isEmpty()) return ""
    val digests = lower.toSortedMap().values.map { sha256(encodeValues(it.values)) }
    return hex(sha256(digests.reduce(ByteArray::plus))).take(GENERATION_DIGITS)
}

/** Removes the prefixes that stand above the experts of other versions than [bank]. */
internal fun dropOlder(cache: PrefixCache, manifest: Manifest, bank: Bank) {
    val depths = manifest.tiers.map { it.layers.toInt() }.filter { it < bank.shape.layers.size }.distinct()
    if (depths.isNotEmpty()) cache.keepGenerations(depths.map { generationOf(lowerInputs(bank, it)) }.toSet())
}

/**
 * What the frozen layers make of one text, rounded.
 *
 * @property count n.
 * @property data as the cache keeps it.
 */
internal class Prefix(val count: Int, val data: ByteArray)

/** What computing prefixes took. */
internal class TrunkTimes {
    private val called = HashSet<String>()
    private var steadyMs = 0.0
    private var steadyTexts = 0

    /** Milliseconds in all. */
    var ms = 0.0
        private set

    /** Milliseconds a text, but for the first call of each method, which loads it; 0 when nothing was measured. */
    val textMs: Double get() = if (steadyTexts > 0) steadyMs / steadyTexts else 0.0

    /** Counts a call. */
    fun add(method: String, took: Double, texts: Int) {
        ms += took
        if (called.add(method)) return
        steadyMs += took
        steadyTexts += texts
    }
}

/**
 * The frozen prefix of a tier's texts, through a cache.
 *
 * @param tier whose trunk methods compute it, and whose texts are cut at S.
 * @param cache null computes every prefix.
 * @param lower what stands in the layers below those that the tier trains ([lowerInputs]).
 * @param nanos a clock, for [times] only.
 */
internal class Trunk(
    private val program: Executor,
    manifest: Manifest,
    tier: Tier,
    private val cache: PrefixCache?,
    private val lower: Floats = emptyMap(),
    private val nanos: () -> Long = System::nanoTime,
) {
    val times = TrunkTimes()
    private val generation = generationOf(lower)
    private val width = manifest.architecture.backbone.width.toInt()
    private val methods = tier.trunkMethods.map { it to capacityOf(manifest.methods.getValue(it)) }
    private val longest = methods.maxOf { (_, room) -> room.sequence }

    // The program's digest stands for backbone, layers and quantization: what a prefix depends on beside the ids.
    private val salt = listOf("program.pte", "tokenizer.json").joinToString(" ") { manifest.files.getValue(it).sha256 }
        .plus(" ${tier.trunkMethods.joinToString(" ")} $longest int8 $generation ").toByteArray()

    /** Returns the prefixes of [texts], each cut at S. */
    fun prefixes(texts: List<String>, tokenizer: Tokenizer): List<Prefix> {
        val keys = texts.map { sha256(salt + it.toByteArray()) }
        val known = HashMap<String, Prefix>()
        keys.forEach { key -> kept(key)?.let { known[hex(key)] = it } }
        val unknown = keys.indices.filter { hex(keys[it]) !in known }.distinctBy { hex(keys[it]) }
        unknown.zip(computed(unknown.map { tokenizer.ids(texts[it], longest) })) { place, prefix ->
            known[hex(keys[place])] = prefix
            if (prefix.count > 0) cache?.put(keys[place], prefix.data, generation)
        }
        return keys.map { known.getValue(hex(it)) }
    }

    private fun kept(key: ByteArray): Prefix? {
        val data = cache?.get(key, generation) ?: return null
        return Prefix(tokensIn(data, width), data).takeIf { it.count in 1..longest }
    }

    /** Returns prefix and residual [R, S, d] by name, of a call's texts at their places. */
    fun spread(prefixes: List<Prefix>, packed: Packed): Tensors {
        val room = packed.capacity
        val parts = Ports.BOUNDARY.map { FloatArray(room.places * width) }
        packed.each { slot, stand ->
            val size = stand.count * width
            val values = decodePrefix(prefixes[slot].data, parts.size * size, width)
            parts.forEachIndexed { part, whole ->
                values.copyInto(whole, packed.placeOf(stand) * width, part * size, (part + 1) * size)
            }
        }
        return Ports.BOUNDARY.zip(parts) { name, values -> name to floatsOf(values, room.rows, room.sequence, width) }.toMap()
    }

    /**
     * Computes the prefixes of texts: of those that one method is the shortest for, R at once. Each has a row of its own and
     * begins it, so its company changes no bit.
     */
    private fun computed(ids: List<LongArray>): List<Prefix> {
        val prefixes = Array(ids.size) { Prefix(0, ByteArray(0)) }
        var shorter = 0
        for ((name, room) in methods) {
            val own = ids.indices.filter { ids[it].size in shorter + 1..room.sequence }
            for (call in own.chunked(room.rows)) {
                call.zip(call(name, call.map(ids::get))) { place, prefix -> prefixes[place] = prefix }
            }
            shorter = room.sequence
        }
        return prefixes.asList()
    }

    private fun call(name: String, ids: List<LongArray>): List<Prefix> {
        val packed = Packed.inOwnRows(ids.map(LongArray::size), methods.toMap().getValue(name))
        val began = nanos()
        val results = program.execute(name, lower + packed.frame() + (Ports.IDS to packed.spread(ids)))
        times.add(name, (nanos() - began) / NANOS_PER_MS, ids.size)
        return packed.stands.map { stand ->
            val own = Ports.BOUNDARY.map { part(results.floats(it), packed.placeOf(stand), stand) }
            Prefix(stand.count, encodePrefix(joined(own), width))
        }
    }

    private fun part(whole: FloatArray, place: Int, stand: Stand) =
        whole.copyOfRange(place * width, (place + stand.count) * width)
}

/** Returns n of what [encodePrefix] made; 0 when it is not whole tokens. */
internal fun tokensIn(data: ByteArray, width: Int): Int {
    val token = Ports.BOUNDARY.size * (width + 4 * (width / groupOf(width)))
    return if (data.size % token == 0) data.size / token else 0
}

private fun groupOf(width: Int): Int = generateSequence(width to GROUP) { (a, b) -> b to a % b }.first { it.second == 0 }.first

/** Returns values as bytes: one float32 scale for each g = gcd(d, 64) values, then the signed bytes. */
internal fun encodePrefix(values: FloatArray, width: Int): ByteArray {
    val group = groupOf(width)
    val scales = FloatArray(values.size / group) { place ->
        var most = 0f
        for (at in place * group until (place + 1) * group) most = maxOf(most, abs(values[at]))
        maxOf(most / 127f, LEAST_SCALE)
    }
    val data = ByteBuffer.allocate(4 * scales.size + values.size).order(ByteOrder.LITTLE_ENDIAN)
    scales.forEach(data::putFloat)
    values.forEachIndexed { at, value -> data.put(Math.rint((value / scales[at / group]).toDouble()).toInt().toByte()) }
    return data.array()
}

/** Returns the [size] values that [data] stands for. */
internal fun decodePrefix(data: ByteArray, size: Int, width: Int): FloatArray {
    val group = groupOf(width)
    val buffer = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN)
    val scales = FloatArray(size / group) { buffer.getFloat() }
    return FloatArray(size) { buffer.get().toFloat() * scales[it / group] }
}
