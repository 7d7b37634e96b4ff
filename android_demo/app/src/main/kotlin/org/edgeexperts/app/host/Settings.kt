package org.edgeexperts.app.host

import android.content.SharedPreferences
import org.edgeexperts.background.Wishes
import org.edgeexperts.core.Budget
import org.edgeexperts.core.Constraints
import org.edgeexperts.core.Heat
import org.edgeexperts.core.LabelPrior

private const val ONLY_CHARGING = 101
private const val BYTES_PER_MB = 1_000_000L
private const val SECONDS_PER_MINUTE = 60.0

/**
 * What the user asks for. A budget of 0 is no limit.
 *
 * @property background train by itself, under the conditions.
 * @property batteryPercent least battery without a charger.
 * @property roundMinutes training time in a round.
 * @property upMb sent in a round, in 10^6 bytes.
 * @property downMb received in a round.
 * @property memoryMib of the training program.
 * @property labelPrior how much the labels of the phone's own examples count when a text is read; of no concern to training.
 */
data class Settings(
    val background: Boolean = false,
    val charging: Boolean = true,
    val unmetered: Boolean = true,
    val idle: Boolean = true,
    val batteryPercent: Int = 30,
    val heatBelow: Heat = Heat.MODERATE,
    val roundMinutes: Int = 10,
    val upMb: Int = 5,
    val downMb: Int = 20,
    val memoryMib: Int = 0,
    val labelPrior: LabelPrior = LabelPrior.OFF,
) {
    /** What training goes by: a run does not end and begin anew for how texts are read. */
    val wishes: Wishes get() = Wishes(
        quiet = Constraints(
            needsIdle = idle,
            needsUnmetered = unmetered,
            batteryPercent = if (charging) ONLY_CHARGING else batteryPercent,
            heatBelow = heatBelow,
        ),
        now = Constraints(needsIdle = false, needsUnmetered = false, batteryPercent = batteryPercent, heatBelow = heatBelow),
        budget = budget(),
    )

    /** What a round may cost, for the gateway's planner and the choice of a tier. */
    private fun budget() = Budget(
        memoryMib = memoryMib.toDouble(),
        bytesUp = upMb * BYTES_PER_MB,
        bytesDown = downMb * BYTES_PER_MB,
        roundSeconds = roundMinutes * SECONDS_PER_MINUTE,
    )

    companion object {
        /** Reads what was kept. */
        fun read(kept: SharedPreferences): Settings {
            val usual = Settings()
            return Settings(
                background = kept.getBoolean("background", usual.background),
                charging = kept.getBoolean("charging", usual.charging),
                unmetered = kept.getBoolean("unmetered", usual.unmetered),
                idle = kept.getBoolean("idle", usual.idle),
                batteryPercent = kept.getInt("battery_percent", usual.batteryPercent),
                heatBelow = Heat.values().find { it.name == kept.getString("heat_below", null) } ?: usual.heatBelow,
                roundMinutes = kept.getInt("round_minutes", usual.roundMinutes),
                upMb = kept.getInt("up_mb", usual.upMb),
                downMb = kept.getInt("down_mb", usual.downMb),
                memoryMib = kept.getInt("memory_mib", usual.memoryMib),
                labelPrior = LabelPrior.values().find { it.name == kept.getString("label_prior", null) } ?: usual.labelPrior,
            )
        }
    }
}

/** Keeps settings. */
fun Settings.write(kept: SharedPreferences) {
    kept.edit()
        .putBoolean("background", background)
        .putBoolean("charging", charging)
        .putBoolean("unmetered", unmetered)
        .putBoolean("idle", idle)
        .putInt("battery_percent", batteryPercent)
        .putString("heat_below", heatBelow.name)
        .putInt("round_minutes", roundMinutes)
        .putInt("up_mb", upMb)
        .putInt("down_mb", downMb)
        .putInt("memory_mib", memoryMib)
        .putString("label_prior", labelPrior.name)
        .apply()
}
