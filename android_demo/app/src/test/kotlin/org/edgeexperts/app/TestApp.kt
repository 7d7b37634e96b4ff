package org.edgeexperts.app

import org.edgeexperts.core.Engine

/** The app as a build without a runtime, on a machine that may have one. */
class TestApp : EdgeApp() {
    override fun engine(): Engine? = null
}
