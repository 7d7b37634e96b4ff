package org.edgeexperts.background

import org.edgeexperts.core.Budget
import org.edgeexperts.core.Constraints
import org.edgeexperts.wire.Enrolment
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertNotEquals
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** When a device works, alone and in a federation; everything by values. */
class AgendaTest {
    private val wishes = Wishes(quiet = Constraints(batteryPercent = 101), budget = Budget(roundSeconds = 60.0))
    private val alone = Situation("ab12", version = 0, listOf(1, 2), enrolment = null, wishes)
    private val together = alone.copy(enrolment = enrolment)
    private val rested = Agenda()

    private fun trained(situation: Situation): Agenda {
        val running = rested.job(begun = true)
        return running.began(situation).ended(running.wanted(situation)!!, failed = false)
    }

    /** Each row: what happened, whether it trains alone, whether it takes part. */
    @Test
    fun whenItWorks() {
        val rows = listOf(
            Triple("nothing", rested, false to false),
            Triple("in sight", rested.seen(true), false to true),
            Triple("out of sight", rested.seen(true).seen(false), false to false),
            Triple("a job", rested.job(true), true to true),
            Triple("two jobs, one ended", rested.job(true).job(true).job(false), true to true),
            Triple("the job ended", rested.job(true).job(false), false to false),
            Triple("a job ended twice, another began", rested.job(true).job(false).job(false).job(true), true to true),
            Triple("Start", rested.start(), true to true),
            Triple("Start and Stop", rested.start().stop(), false to false),
            Triple("Stop while a job runs", rested.job(true).stop(), false to false),
            Triple("Stop, in sight", rested.seen(true).stop(), false to false),
            Triple("Stop, then Start", rested.stop().start(), true to true),
        )
        for ((what, agenda, works) in rows) {
            assertEquals(works, (agenda.wanted(alone) != null) to (agenda.wanted(together) != null), what)
        }
    }

    /** Without a package or an example there is nothing to work on, whatever the user presses. */
    @Test
    fun thereMustBeSomethingToWorkOn() {
        for (agenda in listOf(rested.start(), rested.job(true))) {
            assertNull(agenda.wanted(together.copy(packageDigest = null)))
            assertNull(agenda.wanted(together.copy(examples = emptyList())))
        }
    }

    /** By itself under all conditions; after Start under those of Start, also while a job runs. */
    @Test
    fun startEasesTheConditions() {
        assertEquals(RunRequest(Mode.QUIET, wishes.quiet, wishes.budget, enrolment), rested.job(true).wanted(together))
        assertEquals(RunRequest(Mode.NOW, wishes.now, wishes.budget, enrolment), rested.job(true).start().wanted(together))
        assertEquals(RunRequest(Mode.NOW, wishes.now, wishes.budget, null), rested.start().wanted(alone))
    }

    /** Alone it trains once for a model and its examples; a new example, version or package makes more to do. */
    @Test
    fun itTrainsUntilItIsUpToDate() {
        val after = trained(alone)
        assertTrue(after.upToDate(alone))
        assertNull(after.changed().wanted(alone))
        assertNull(after.start().wanted(alone))
        for (other in listOf(alone.copy(examples = listOf(1, 2, 3)), alone.copy(version = 1), alone.copy(packageDigest = "cd34"))) {
            assertFalse(after.upToDate(other))
            assertNotNull(after.changed().wanted(other))
        }
        assertNotNull(after.wanted(together), "a federation goes on all the same")
        assertNotNull(after.forgotten().changed().wanted(alone))
    }

    /** An example that came during a run is not one that it began with. */
    @Test
    fun aRunCountsForWhatItBeganWith() {
        val running = rested.job(true).began(alone)
        val more = alone.copy(examples = listOf(1, 2, 3))
        val after = running.ended(running.wanted(more)!!, failed = false)
        assertFalse(after.upToDate(more))
    }

    /** What failed or is done does not begin again by itself; it does after a change, and on Start. */
    @Test
    fun whatEndedDoesNotBeginAgain() {
        val running = rested.job(true)
        val request = running.wanted(together)!!
        for (after in listOf(running.ended(request, failed = true), running.ended(request, failed = false), running.refused(request))) {
            assertNull(after.wanted(together))
            assertEquals(request, after.changed().wanted(together))
            assertEquals(Mode.NOW, after.start().wanted(together)?.mode)
            val other = together.copy(wishes = wishes.copy(budget = Budget(roundSeconds = 30.0)))
            assertNotEquals(request, assertNotNull(after.wanted(other)))
        }
        assertFalse(running.began(alone).ended(running.wanted(alone)!!, failed = true).upToDate(alone))
    }

    /** A run of Start is one: when it ended, the conditions count again. */
    @Test
    fun afterStartTheConditionsCountAgain() {
        val running = rested.job(true).start()
        val after = running.ended(running.wanted(together)!!, failed = false)
        assertEquals(Mode.QUIET, after.wanted(together)?.mode)
        assertNull(after.job(false).wanted(together))
    }

    /** SHA-256 of "ab12 0 1,2", by sha256sum. */
    @Test
    fun theStampNamesModelAndExamples() =
        assertEquals("ea5d2b8e6f3dd5189beaa57adab2f8c8dc432f7270cc305ffe2ede172a68bcdd", alone.stamp)

    private companion object {
        val enrolment = Enrolment.fromJson(
            """{"enrolment_format": 2, "device": "cy", "federation": "home", "federation_digest": "${"0".repeat(64)}",
                "package_digest": "", "gateway": {"host": "localhost", "port": 1883, "tls": false}}""".toByteArray(),
        )
    }
}
