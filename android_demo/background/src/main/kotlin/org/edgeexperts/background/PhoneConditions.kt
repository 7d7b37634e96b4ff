package org.edgeexperts.background

import android.annotation.TargetApi
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.net.ConnectivityManager
import android.net.Network
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import org.edgeexperts.core.Conditions
import org.edgeexperts.core.Heat
import java.io.Closeable

private const val TENTHS = 10

/** Temperatures of the battery, in degrees Celsius, from which an older phone counts as this hot. */
private val BATTERY_HEAT = listOf(48 to Heat.SEVERE, 43 to Heat.MODERATE, 40 to Heat.LIGHT)

/** What the system tells at once. */
private val EVENTS = listOf(
    Intent.ACTION_POWER_CONNECTED, Intent.ACTION_POWER_DISCONNECTED, Intent.ACTION_SCREEN_ON, Intent.ACTION_SCREEN_OFF,
)

/** Tells when the network came, went, or began or ceased to cost by the byte; not of its strength. */
private class NetworkWatch(private val changed: () -> Unit) : ConnectivityManager.NetworkCallback() {
    private var unmetered: Boolean? = null

    override fun onCapabilitiesChanged(network: Network, capabilities: NetworkCapabilities) =
        tell(capabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED))

    override fun onLost(network: Network) = tell(null)

    private fun tell(now: Boolean?) {
        if (now == unmetered) return
        unmetered = now
        changed()
    }
}

/** Reads what the phone is like now, and tells when that may have changed. */
public class PhoneConditions(private val context: Context) {
    private val power = context.getSystemService(PowerManager::class.java)
    private val network = context.getSystemService(ConnectivityManager::class.java)

    /** Returns it. */
    public fun read(): Conditions {
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

    /**
     * Tells [changed] when a charger or a network came or went, when the screen turned on or off, and how hot the phone is
     * from Android 10 on; from any thread, until what is returned is closed. Nobody tells of battery, temperature and storage.
     */
    public fun watch(changed: () -> Unit): Closeable {
        val receiver = object : BroadcastReceiver() {
            override fun onReceive(context: Context, intent: Intent) = changed()
        }
        val callback = NetworkWatch(changed)
        context.registerReceiver(receiver, IntentFilter().apply { EVENTS.forEach(::addAction) })
        network.registerDefaultNetworkCallback(callback)
        val heat = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) watchHeat(changed) else Closeable {}
        return Closeable {
            context.unregisterReceiver(receiver)
            network.unregisterNetworkCallback(callback)
            heat.close()
        }
    }

    @TargetApi(Build.VERSION_CODES.Q)
    private fun watchHeat(changed: () -> Unit): Closeable {
        val listener = PowerManager.OnThermalStatusChangedListener { changed() }
        power.addThermalStatusListener(listener)
        return Closeable { power.removeThermalStatusListener(listener) }
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
