package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.Capacity
import org.edgeexperts.wire.Case
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.hex
import org.junit.Rule
import org.junit.rules.TemporaryFolder
import java.io.File
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals

/** Prefixes of texts by two trunk methods: six texts of 4 tokens, or five of 8. */
class TrunkTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private val manifest = Manifest.fromJson(Case.bytes("Manifest", "accept_trunk"))
    private val width = manifest.architecture.backbone.width.toInt()
    private val tokenizer by lazy { Tokenizer.read(writeToy(File(temporary.root, "package")).path("tokenizer.json")) }

    /** The prefix of a token is its id, the residual the id's negative; keeps what each call had for ids. */
    private inner class Recorder(private val manifest: Manifest = this@TrunkTest.manifest) : Executor {
        val lower = ArrayList<FloatArray>()
        val calls = ArrayList<Pair<String, List<Long>>>()

        override fun execute(method: String, inputs: Tensors): Tensors {
            val spec = manifest.methods.getValue(method)
            assertEquals(spec.inputs.map { it.name to it.shape }, spec.inputs.map { it.name to inputs.getValue(it.name).shape.toList() })
            val ids = (inputs.getValue(Ports.IDS) as TensorValue.Longs).values
            calls += method to ids.toList()
            inputs[Ports.LOWER_EXPERTS]?.let { lower += (it as TensorValue.Floats).values }
            fun port(sign: Float) = FloatArray(ids.size * width) { sign * ids[it / width] }
            return spec.outputs.associate { tensor ->
                tensor.name to TensorValue.Floats(tensor.shape.toLongArray(), port(if (tensor.name == Ports.PREFIX) 1f else -1f))
            }
        }

        override fun unload(method: String) = Unit
    }

    private class Memory : PrefixCache {
        val kept = HashMap<String, ByteArray>()

        override fun get(key: ByteArray, generation: String) = kept["$generation ${hex(key)}"]

        override fun put(key: ByteArray, body: ByteArray, generation: String) {
            kept["$generation ${hex(key)}"] = body
        }

        override fun keepGenerations(kept: Set<String>) {
            this.kept.keys.removeAll { !it.startsWith(" ") && it.substringBefore(' ') !in kept }
        }
    }

    private fun trunk(program: Executor, cache: PrefixCache?) = Trunk(program, manifest, manifest.tiers[0], cache)

    /** Short texts go six at a time through the short method, others through the long one, cut there; equal ones once. */
    @Test
    fun textsGoToTheShortestMethodThatHoldsThem() {
        val program = Recorder()
        val short = List(7) { number -> (0..3).joinToString(" ") { if (number shr it and 1 == 1) "wake" else "me" } }
        val texts = short + listOf("play play play play play play play play play", "", "wake me play song play", short[0])
        val prefixes = trunk(program, null).prefixes(texts, tokenizer)
        assertEquals(listOf("trunk_s4_r6", "trunk_s4_r6", "trunk_s8_r5"), program.calls.map { it.first })
        assertEquals(List(8) { 4L } + listOf(2L, 3L, 4L, 5L, 4L, 0L, 0L, 0L) + List(24) { 0L }, program.calls[2].second)
        assertEquals(List(7) { 4 } + listOf(8, 0, 5, 4), prefixes.map(Prefix::count))
    }

    /** What is kept is a text's own tokens, the same bytes whatever its company was; a text that is found runs nothing. */
    @Test
    fun aTextThatIsKeptRunsNothing() {
        val (first, cache) = Recorder() to Memory()
        val texts = listOf("wake me", "play")
        val computed = trunk(first, cache).prefixes(texts, tokenizer)
        assertEquals(setOf(1, 2), cache.kept.values.map { tokensIn(it, width) }.toSet())
        val second = Recorder()
        val found = trunk(second, cache).prefixes(texts.reversed(), tokenizer)
        assertEquals(0, second.calls.size)
        computed.zip(found.reversed()) { one, other -> assertContentEquals(one.data, other.data) }
        assertContentEquals(computed[1].data, trunk(Recorder(), null).prefixes(listOf("play"), tokenizer).single().data)
        cache.kept.replaceAll { _, body -> body.copyOf(body.size - 1) } // cut off: computed again
        assertContentEquals(computed[0].data, trunk(second, cache).prefixes(texts, tokenizer)[0].data)
        assertEquals(1, second.calls.size)
    }

    /** Above experts of the lower layer: they are given to the trunk, and no prefix of others is found; those go. */
    @Test
    fun prefixesBelongToTheExpertsBelow() {
        val deep = Manifest.fromJson(Case.bytes("Manifest", "accept_depth"))
        val (cache, program) = Memory() to Recorder(deep)
        val shape = deep.architecture.bankShape()
        fun bank(value: Float) = Bank.zeros(shape).replace(mapOf(ExpertId(0, 1) to FloatArray(shape.expertSize) { value }))
        fun read(bank: Bank) = Trunk(program, deep, deep.tiers[1], cache, lowerInputs(bank, 1)).prefixes(listOf("play", "me"), tokenizer)
        val (one, other) = bank(1f) to bank(2f)
        listOf(one, one, other).forEach(::read)
        assertEquals(listOf("trunk_l1_s8_r5", "trunk_l1_s8_r5"), program.calls.map { it.first })
        assertEquals(listOf(listOf(0f, 1f), listOf(0f, 2f)), program.lower.map { listOf(it[0], it.last()) })
        assertEquals(4, cache.kept.size)
        dropOlder(cache, deep, other)
        assertEquals(2, cache.kept.size)
        read(other)
        assertEquals(2, program.calls.size)
        dropOlder(cache, manifest, other) // no tier there stands above experts: nothing to drop
        assertEquals(2, cache.kept.size)
        // The upper layer is trained: its experts are no part of what stands below.
        assertEquals(generationOf(lowerInputs(one, 1)), generationOf(lowerInputs(one.replace(mapOf(ExpertId(1, 0) to FloatArray(shape.expertSize) { 7f })), 1)))
    }

    /** Prefixes stand where the ids would: the longer text first, the shorter behind it. */
    @Test
    fun prefixesStandWhereTheIdsWould() {
        val trunk = trunk(Recorder(), null)
        val prefixes = trunk.prefixes(listOf("me", "play song"), tokenizer)
        val spread = trunk.spread(prefixes, Packed.next(prefixes.map(Prefix::count), Capacity(1, 4, 2)))
        for ((name, sign) in Ports.BOUNDARY.zip(listOf(1f, -1f))) {
            val expected = listOf(4f, 5f, 3f, 0f).flatMap { id -> List(width) { sign * id } }.toFloatArray()
            assertContentEquals(expected.map { Math.round(it) }, spread.floats(name).map { Math.round(it) })
            assertEquals(listOf(1L, 4L, width.toLong()), spread.getValue(name).shape.toList())
        }
    }
}
