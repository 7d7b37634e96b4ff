package org.edgeexperts.app

import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import kotlin.test.assertEquals

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34])
class MainActivityTest {
    @Test fun theAppStarts() {
        val activity = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        assertEquals("Edge Experts", activity.applicationInfo.loadLabel(activity.packageManager))
    }
}
