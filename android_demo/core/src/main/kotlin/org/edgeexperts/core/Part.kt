/** Taking part in the background, and what an enrolment must fit. */
package org.edgeexperts.core

import org.edgeexperts.wire.BrokerUrl
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.PackageException
import org.edgeexperts.wire.PackageFolder
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.unhex
import kotlin.concurrent.thread

/**
 * A thread that takes part.
 *
 * @param wake ends a wait of [body], so that it sees that it is to stop.
 */
internal class Part(private val wake: () -> Unit, body: (stopped: () -> Boolean) -> Unit) : Participation {
    @Volatile
    private var asked = false

    @Volatile
    private var failure: Exception? = null
    private val worker = thread(name = "edge-device") {
        try {
            body { asked }
        } catch (error: Exception) {
            failure = error
        }
    }

    override val running: Boolean get() = worker.isAlive

    override fun stop() {
        asked = true
        wake()
    }

    override fun await(millis: Long): Boolean {
        worker.join(millis)
        if (worker.isAlive) return false
        failure?.let { throw if (it is EdgeException) it else EdgeException(it.message ?: "$it", it) }
        return true
    }

    fun end() {
        stop()
        worker.join()
    }
}

/**
 * Holds an enrolment against the package that is here.
 *
 * @throws ConfigException when it is for another package or federation, or the maker that it names did not sign this one.
 */
internal fun checkEnrolment(enrolment: Enrolment, folder: PackageFolder) {
    val (asked, own) = enrolment.federationDigest to hex(folder.manifest.architecture.digest())
    if (asked != own) {
        throw ConfigException(
            "the enrolment is for the federation ${asked.take(12)}…, this package is for ${own.take(12)}…; " +
                "ask for an enrolment or a package that fits",
        )
    }
    val (wanted, digest) = enrolment.packageDigest to hex(folder.digest)
    if (wanted.isNotEmpty() && wanted != digest) {
        throw ConfigException(
            "the enrolment is for the package ${wanted.take(12)}…, this is ${digest.take(12)}…; install that package first",
        )
    }
    if (enrolment.packageKey.isEmpty()) return
    try {
        folder.verify(unhex(enrolment.packageKey))
    } catch (error: PackageException) {
        throw ConfigException(error.message.orEmpty(), error)
    }
}

/** Returns the broker that an enrolment names. */
internal fun brokerOf(enrolment: Enrolment): Broker {
    val at = enrolment.gateway
    fun part(text: String) = text.ifEmpty { null }
    val tls = TlsIdentity(part(enrolment.ca), part(enrolment.certificate), part(enrolment.key))
    val url = BrokerUrl(at.host, at.port, at.tls, enrolment.user, enrolment.password, at.websocket)
    return Broker(url, tls)
}
