package org.edgeexperts.app

import android.app.Application
import org.edgeexperts.app.engine.findEngine
import org.edgeexperts.app.host.Host
import org.edgeexperts.core.Engine
import org.edgeexperts.core.openDevice

/** The process: it has one device, which every window and job shares. */
open class EdgeApp : Application() {
    /** Made when it is first needed. */
    val host: Host get() = lazyHost.value

    private val lazyHost = lazy { Host(this, engine()) { folder, state, engine -> openDevice(folder, state, engine) } }

    /** Only emulated processes end in order. */
    override fun onTerminate() {
        if (lazyHost.isInitialized()) lazyHost.value.close()
        super.onTerminate()
    }

    /** Returns what executes programs; null where this build has nothing. */
    protected open fun engine(): Engine? = findEngine()
}
