/**
 * Whether a device may train now: after the Android Open Source Project's federated-compute client.
 *
 * A run stops at the first hindrance and goes on later from its checkpoint, with the optimizer's state.
 */
package org.edgeexperts.core

/** How hot a device says it is: Android's PowerManager.THERMAL_STATUS_* in its order. */
public enum class Heat { NONE, LIGHT, MODERATE, SEVERE, CRITICAL, EMERGENCY, SHUTDOWN }

/**
 * What a device is like at one moment.
 *
 * @property idle nobody uses it.
 * @property charging on a charger.
 * @property batteryPercent 0 to 100.
 * @property unmetered its network costs nothing by the byte.
 * @property heat its thermal status.
 * @property freeBytes of the storage that holds the state.
 */
public data class Conditions(
    public val idle: Boolean,
    public val charging: Boolean,
    public val batteryPercent: Int,
    public val unmetered: Boolean,
    public val heat: Heat,
    public val freeBytes: Long,
)

/**
 * What the user asks for before a device works.
 *
 * @property needsIdle train only while nobody uses the device.
 * @property needsUnmetered only on a network that costs nothing by the byte.
 * @property batteryPercent enough without a charger; over 100: only on a charger.
 * @property heatBelow the status at which training stops.
 * @property freeBytes floor of free storage.
 * @property runSeconds time budget of one run; 0 = no limit.
 */
public data class Constraints(
    public val needsIdle: Boolean = true,
    public val needsUnmetered: Boolean = true,
    public val batteryPercent: Int = 30,
    public val heatBelow: Heat = Heat.MODERATE,
    public val freeBytes: Long = 256L * 1024 * 1024,
    public val runSeconds: Double = 0.0,
)

/** Why a device does not train now. */
public enum class Hindrance { IN_USE, LOW_BATTERY, METERED, HOT, STORAGE_LOW, TIME_IS_UP }

/** Returns what stands against training now, after [ranSeconds] of this run; empty: go. */
public fun hindrances(now: Conditions, asked: Constraints, ranSeconds: Double = 0.0): Set<Hindrance> {
    val reasons = mapOf(
        Hindrance.IN_USE to (asked.needsIdle && !now.idle),
        Hindrance.LOW_BATTERY to (!now.charging && now.batteryPercent < asked.batteryPercent),
        Hindrance.METERED to (asked.needsUnmetered && !now.unmetered),
        Hindrance.HOT to (now.heat >= asked.heatBelow),
        Hindrance.STORAGE_LOW to (now.freeBytes < asked.freeBytes),
        Hindrance.TIME_IS_UP to (asked.runSeconds > 0 && ranSeconds >= asked.runSeconds),
    )
    return reasons.filterValues { it }.keys
}

/**
 * Asks again while a device trains, at most once a second: reading the conditions costs time.
 *
 * @param asked what the user asks for.
 * @param read returns the conditions.
 * @param seconds a clock that only goes forward.
 */
public class Gate(
    private val asked: Constraints,
    private val seconds: () -> Double,
    private val read: () -> Conditions,
) {
    private val began = seconds()

    @Volatile
    private var readAt = Double.NEGATIVE_INFINITY
    private var current: Set<Hindrance> = emptySet()

    /** Returns what stands against going on. */
    public fun check(): Set<Hindrance> {
        val now = seconds()
        if (now - readAt >= READ_EVERY_S) {
            readAt = now // before it reads: what changes meanwhile is read next time
            current = hindrances(read(), asked, now - began)
        }
        return current
    }

    /** The conditions changed: the next [check] reads them, however soon that is. Any thread may call it. */
    public fun changed() {
        readAt = Double.NEGATIVE_INFINITY
    }

    internal companion object {
        const val READ_EVERY_S = 1.0
    }
}
