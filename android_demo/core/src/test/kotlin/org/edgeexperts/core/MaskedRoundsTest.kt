package org.edgeexperts.core

import org.edgeexperts.wire.Address
import org.edgeexperts.wire.ClassSums
import org.edgeexperts.wire.PackageFolder
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.parseJson
import org.edgeexperts.wire.secure.FederationScope
import java.io.File
import java.nio.file.Files
import java.util.concurrent.LinkedBlockingQueue
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

private const val NAME = "phone"

/** A device that Python turns: its words go there, and come from there. */
private class TurnedDevice(state: File, words: List<String>, private val say: (String) -> Unit) : Link {
    private val folder = PackageFolder.open(File(words[0]))
    private val key = unhex(words[1])
    private val sums = ClassSums(unhexFloats(words[2]), unhexFloats(words[3]))
    private val signer = words.drop(4).map { String(unhex(it)) }.let { (ca, certificate, private) ->
        MaskSigner.of(TlsIdentity(ca, certificate, private), FederationScope("default", folder.manifest.architecture.digest()))
    }
    private val state = File(state, "state")
    private val inbox = LinkedBlockingQueue<LinkEvent>()
    private var now = 0.0
    private var running: Pair<Store, Device>? = null // not while it is killed
    override val bytesUp = 0L
    override val bytesDown = 0L
    override val busy = false

    private fun begun(store: Store): Device {
        val (manifest, program) = folder.manifest to NamedProgram(ToyProgram(folder), folder.manifest)
        val examples = Examples(store, manifest.architecture.labels)
        val texts = listOf("wake me" to "alarm", "play song" to "music", "song now" to "music", "rain" to "weather", "sun" to "weather", "rain sun" to "weather")
        if (examples.usable == 0) examples.add(texts)
        val tools = Tools(program, manifest, Tokenizer.read(folder.path("tokenizer.json")), examples.snapshot(), { 0 }, null)
        val watch = Watch(manifest.tiers, manifest.tiers[1], ::Signal) { now }
        val work = Work(tools, store, Versions(store, folder), NAME, watch, signer)
        val clock = Clock(0.0, { now }, { 0 }, { 0.5 })
        val identity = Identity(NAME, folder.digest, "toy", Budget(), sums, key)
        return Device(identity, work, this, inbox, StateBoard(DeviceState()), PartOptions(checkpointSeconds = 0.0), clock) { false }
    }

    /** Connects; a process that was ended begins anew. */
    fun up() {
        running = running ?: Store(state).let { it to begun(it) }
        inbox += LinkEvent.Up
    }

    fun hear(topic: String, name: String, payload: String) {
        val address = Address("default", Topic.values().single { it.word == topic }, name.removePrefix("-"))
        inbox += LinkEvent.Arrived(address, if (payload == "-") ByteArray(0) else unhex(payload))
    }

    fun turn(seconds: String) {
        now = seconds.toDouble()
        val (store, device) = running!!
        device.turn()
        Unmasked.recall(store)?.values?.forEach { (circle, said) -> say("trained $circle ${hex(encodeIntegers(said))}") }
        say("done")
    }

    fun kill() {
        close()
        inbox.clear()
        say("done")
    }

    fun close() {
        running?.first?.close()
        running = null
    }

    override fun start() = Unit

    override fun send(topic: Topic, payloads: Sequence<ByteArray>) = payloads.forEach { say("send ${topic.word} ${hex(it)}") }

    override fun request(blobs: List<String>, want: ByteArray) = say("request ${hex(want)} ${blobs.joinToString(" ")}")

    override fun release(blobs: Set<String>) = say("release ${blobs.joinToString(" ")}")

    override fun listen(topic: Topic) = say("listen ${topic.word}")

    override fun stop(bye: ByteArray) = Unit
}

/** The real gateway, devices of Python and one of Kotlin in one round under masks. */
class MaskedRoundsTest {
    private val folder = Files.createTempDirectory("masked").toFile()
    private var device: TurnedDevice? = null

    @AfterTest
    fun removeFolder() {
        device?.close()
        folder.deleteRecursively()
    }

    /** Returns the result, once all lines of the script are followed. */
    private fun play(): Any? {
        val process = startPython("masked_rounds.py", folder.path)
        val output = process.outputStream.bufferedWriter()
        val say = { line: String -> output.write("$line\n") }
        process.inputStream.bufferedReader().forEachLine { line ->
            val words = line.split(" ")
            when (words[0]) {
                "start" -> device = TurnedDevice(folder, words.drop(1), say)
                "up" -> device!!.up()
                "say" -> device!!.hear(words[1], words[2], words[3])
                "turn" -> device!!.turn(words[1])
                "kill" -> device!!.kill()
                "result" -> result = parseJson(line.substringAfter(" ").toByteArray(), "the result")
            }
            output.flush()
        }
        assertEquals(0, process.waitFor())
        return result
    }

    private var result: Any? = null

    /**
     * One device leaves after it dealt, and the one of Kotlin is killed when its shares are dealt and its training waits, before its
     * delta and before its answer: the version is, bit for bit, what the survivors' integers make without masks, and so is the
     * head that follows from their class sums.
     */
    @Test
    fun aSumOverBothLanguagesIsThePlainOne() {
        val told = play()
        assertEquals(told["plain"], told["versions"])
        assertTrue(told["trained"] as Long >= 2, "circles: ${told["trained"]}")
        assertEquals(4L, told["survivors"])
        val kinds = listOf("ANSWER", "DELTA", "KEYS", "SHARES")
        assertEquals(kinds.associateWith { 1L }, told["offered"]) // bodies of each kind, however often they were sent
        assertTrue(told["accepted"].items.containsAll(kinds), "${told["accepted"]}")
    }
}
