/** Who a device is in a federation, and by which clock it acts. */
package org.edgeexperts.core

import org.edgeexperts.wire.ClassSums
import org.edgeexperts.wire.Codec
import org.edgeexperts.wire.GatewayState
import org.edgeexperts.wire.Hello
import org.edgeexperts.wire.NOISE_VERSION
import org.edgeexperts.wire.Reach
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.asField

private val CODECS = listOf(Codec.FLOAT32, Codec.INT8)

/**
 * What this device tells about itself.
 *
 * @property device its id.
 * @property packageDigest of its package.
 * @property runtime the engine's name.
 * @property budget what it may spend.
 * @property sums class statistics of its examples.
 * @property gatewayKey the gateway's public key; empty takes what is not signed.
 */
internal class Identity(
    val device: String,
    val packageDigest: ByteArray,
    val runtime: String,
    val budget: Budget,
    val sums: ClassSums,
    val gatewayKey: ByteArray = ByteArray(0),
)

/**
 * Where the time comes from, and chance: a test may hold both.
 *
 * @property pauseSeconds that a turn waits at most; whoever asks the device to stop waits no longer.
 */
internal class Clock(
    val pauseSeconds: Double = 0.5,
    val seconds: () -> Double = { System.nanoTime() / 1e9 },
    val millis: () -> Long = System::currentTimeMillis,
    val chance: () -> Double = Math::random,
)

private fun reachOf(layers: Int, pace: Pace): Reach =
    Reach.newBuilder().setLayers(layers).setStepMs(pace.stepMs.toFloat()).setTrunkMs(pace.trunkMs.toFloat()).build()

/**
 * Returns the bytes of a Hello.
 *
 * @param statisticsDigest of the statistics that the device would send.
 * @param gateway whose session it answers.
 */
internal fun helloOf(identity: Identity, work: Work, statisticsDigest: ByteArray, gateway: GatewayState?): ByteArray {
    val manifest = work.tools.manifest
    val (tier, budget) = work.largest to identity.budget
    val hello = Hello.newBuilder().setWireVersion(WIRE_VERSION).setDevice(identity.device)
        .setFederationDigest(manifest.architecture.digest().asField())
        .setPackageDigest(identity.packageDigest.asField())
        .setProfile(manifest.device).setRuntime(identity.runtime)
        .setTrainedSlots(tier.trainedSlots.toInt()).setHeldSlots(tier.heldSlots.toInt())
        .setBatchSize(tier.batchSize.toInt()).setStepMs(work.stepMs.toFloat()).setExamples(work.tools.source.size)
        .setBytesUpPerRound(budget.bytesUp).setBytesDownPerRound(budget.bytesDown)
        .setSecondsPerRound(budget.roundSeconds.toFloat()).addAllCodecs(CODECS)
        .setStatisticsDigest(statisticsDigest.asField())
        .setMasks(if (work.signer?.fault.isNullOrEmpty()) NOISE_VERSION else 0).setSignsKeys(work.signer?.fault == "")
        .addAllReaches(work.reaches.map { (layers, pace) -> reachOf(layers, pace) })
    gateway?.let { hello.gatewaySession = it.session }
    return hello.build().toByteArray()
}
