package org.edgeexperts.app

import android.app.Application
import org.edgeexperts.app.host.Host
import org.edgeexperts.app.job.AppTraining
import org.edgeexperts.background.TrainingApp
import org.edgeexperts.background.TrainingHost
import org.edgeexperts.core.Engine
import org.edgeexperts.core.openDevice
import org.edgeexperts.engine.findEngine

/** The process: it has one device, which every window and job shares. */
open class EdgeApp : Application(), TrainingApp {
    /** Made when it is first needed. */
    val host: Host get() = lazyHost.value

    override val training: TrainingHost by lazy { AppTraining(this, host) }

    private val lazyHost = lazy { Host(this, engine()) { folder, state, engine -> openDevice(folder, state, engine) } }

    /** Only emulated processes end in order. */
    override fun onTerminate() {
        if (lazyHost.isInitialized()) lazyHost.value.close()
        super.onTerminate()
    }

    /** Returns what executes programs; null where this build has nothing. */
    protected open fun engine(): Engine? = findEngine()
}
