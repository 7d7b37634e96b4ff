package org.edgeexperts.app

import org.edgeexperts.app.widget.smoothed
import org.edgeexperts.app.widget.ticks
import kotlin.test.Test
import kotlin.test.assertEquals

/** Round numbers along the axes of the loss curve. */
class AxesTest {
    private fun values(low: Double, high: Double, most: Int, whole: Boolean = false) =
        ticks(low, high, most, whole).let { ticks -> ticks.values.map { "%.${ticks.decimals}f".format(java.util.Locale.ROOT, it) } }

    @Test fun ticksAreRoundAndEncloseTheValues() {
        assertEquals(listOf("0.0", "0.5", "1.0", "1.5"), values(0.0, 1.2, 4))
        assertEquals(listOf("0.00", "0.02", "0.04", "0.06"), values(0.0, 0.051, 3))
        assertEquals(listOf("-1", "0", "1", "2", "3"), values(-0.2, 2.4, 4))
    }

    @Test fun stepsAreWhole() {
        assertEquals(listOf("0", "1", "2"), values(0.0, 2.0, 5, whole = true))
        assertEquals(listOf("0", "20", "40", "60"), values(0.0, 60.0, 5, whole = true))
    }

    /** All losses equal: there is still a span to draw in. */
    @Test fun aFlatCurveHasAnAxis() = assertEquals(2, values(0.0, 0.0, 1).size)

    /** Each point is the mean of its neighbours; the ends stay where they are. */
    @Test fun smoothingKeepsTheEnds() {
        val values = smoothed(List(12) { if (it % 2 == 0) 0.0 else 3.0 })
        assertEquals(listOf(0.0, 1.0, 2.0), values.take(3))
        assertEquals(3.0, values.last())
    }
}
