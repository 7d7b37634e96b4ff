package org.edgeexperts.core

import org.edgeexperts.wire.Case
import org.edgeexperts.wire.Manifest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class BudgetTest {
    private val manifest = Manifest.fromJson(Case.bytes("Manifest", "accept_two_tiers"))

    private fun manifest(vararg memory: Double) = manifest.copy(
        tiers = memory.map { mib ->
            val measured = manifest.tiers[0].measured.copy(memoryMib = mib, storageMb = 30.0, bytesUp = 1_000)
            manifest.tiers[0].copy(method = "train_$mib", trainedSlots = 2, measured = measured)
        },
    )

    /** The largest tier that fits, in the order of the package; no limit takes the first. */
    @Test
    fun theLargestTierThatFitsIsTaken() {
        val package_ = manifest(300.0, 200.0, 100.0)
        assertEquals("train_300.0", chooseTier(package_, Budget()).method)
        assertEquals("train_200.0", chooseTier(package_, Budget(memoryMib = 250.0)).method)
        assertEquals("train_100.0", chooseTier(package_, Budget(memoryMib = 100.0)).method)
    }

    /** A refusal gives the numbers of the smallest. */
    @Test
    fun nothingFitsIsSaidWithNumbers() {
        val error = assertFailsWith<BudgetException> {
            chooseTier(manifest(300.0, 1234.5), Budget(memoryMib = 200.0, storageMb = 20.0))
        }
        assertEquals(
            "no tier of this package fits this device: its smallest needs 1,235 MiB of memory, the budget is 200; " +
                "30 MB of storage, the budget is 20; raise the budget or export smaller",
            error.message,
        )
    }

    /** Of an upload only one expert must fit: 1,000 bytes of two experts are 500 each. */
    @Test
    fun oneExpertOfAnUploadMustFit() {
        assertEquals(emptyList(), excess(manifest(1.0).tiers[0], Budget(bytesUp = 500)))
        assertEquals(
            listOf("500 bytes a round of upload, the budget is 499"),
            excess(manifest(1.0).tiers[0], Budget(bytesUp = 499)),
        )
    }

    /** Where nothing was measured the prediction counts. */
    @Test
    fun predictionsStandInForMeasurements() {
        val tier = manifest(0.0).tiers[0].let { it.copy(predicted = it.predicted.copy(memoryMib = 77.0)) }
        assertEquals(listOf("77 MiB of memory, the budget is 70"), excess(tier, Budget(memoryMib = 70.0)))
    }

    /** The profile's budget is read; what it leaves out is no limit. */
    @Test
    fun theProfilesBudgetIsRead() {
        val profile = mapOf("budget" to mapOf("memory_mib" to 512L, "bytes_up" to 4_000_000L, "round_seconds" to 600.5))
        assertEquals(Budget(memoryMib = 512.0, bytesUp = 4_000_000, roundSeconds = 600.5), Budget.fromProfile(profile))
        assertEquals(Budget(), Budget.fromProfile(emptyMap()))
    }
}
