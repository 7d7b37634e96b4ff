package org.edgeexperts.app.host

import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.net.ConnectivityManager
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import org.edgeexperts.core.Conditions
import org.edgeexperts.core.Heat

private const val TENTHS = 10

/** Temperatures of the battery, in degrees Celsius, from which an older phone counts as this hot. */
private val BATTERY_HEAT = listOf(48 to Heat.SEVERE, 43 to Heat.MODERATE, 40 to Heat.LIGHT)

/** Reads what the phone is like now. */
class PhoneConditions(private val context: Context) {
    private val power = context.getSystemService(PowerManager::class.java)
    private val network = context.getSystemService(ConnectivityManager::class.java)

    /** Returns it. */
    fun read(): Conditions {
        val battery = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
        return Conditions(
            idle = !power.isInteractive,
            charging = (battery?.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) ?: 0) != 0,
            batteryPercent = percent(battery),
            unmetered = network.activeNetwork != null && !network.isActiveNetworkMetered,
            heat = heat(battery),
            freeBytes = context.filesDir.usableSpace,
        )
    }

    private fun percent(battery: Intent?): Int {
        val level = battery?.getIntExtra(BatteryManager.EXTRA_LEVEL, -1) ?: -1
        val full = battery?.getIntExtra(BatteryManager.EXTRA_SCALE, -1) ?: -1
        return if (level < 0 || full <= 0) 0 else level * 100 / full
    }

    /** Phones tell how hot they are from Android 10 on; of older ones only the battery is known. */
    private fun heat(battery: Intent?): Heat {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
            return Heat.values().getOrElse(power.currentThermalStatus) { Heat.NONE }
        }
        val degrees = (battery?.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, 0) ?: 0) / TENTHS
        return BATTERY_HEAT.find { (from, _) -> degrees >= from }?.second ?: Heat.NONE
    }
}
