/** From errors to what a user is told: what happened, what to do. Never the error itself, unless asked for. */
package org.edgeexperts.app.host

import org.edgeexperts.app.R
import org.edgeexperts.core.BudgetException
import org.edgeexperts.core.ConfigException
import org.edgeexperts.core.EngineException
import org.edgeexperts.core.ExampleException
import org.edgeexperts.core.ExpelledException
import org.edgeexperts.core.StoreException
import org.edgeexperts.core.TokenizerException
import org.edgeexperts.wire.EnrolmentException
import org.edgeexperts.wire.PackageException
import java.io.IOException

/**
 * What went wrong.
 *
 * @property title string resource: what happened.
 * @property advice string resource: what to do.
 * @property detail for whoever is asked for help; never a user's text.
 */
data class Problem(val title: Int, val advice: Int, val detail: String)

/** Returns what to tell of an error. */
fun problemOf(error: Throwable): Problem {
    val (title, advice) = when (error) {
        is EnrolmentException -> R.string.problem_enrolment to R.string.problem_enrolment_text
        is PackageException -> R.string.problem_package to R.string.problem_package_text
        is TokenizerException -> R.string.problem_tokenizer to R.string.problem_tokenizer_text
        is BudgetException -> R.string.problem_budget to R.string.problem_budget_text
        is StoreException -> R.string.problem_storage to R.string.problem_storage_text
        is EngineException -> R.string.problem_program to R.string.problem_program_text
        is ExpelledException -> R.string.link_expelled to R.string.link_expelled_text
        is ExampleException -> R.string.problem_example to R.string.problem_example_text
        is ConfigException -> R.string.problem_federation to R.string.problem_federation_text
        is IOException, is SecurityException -> R.string.problem_read to R.string.problem_read_text
        else -> R.string.problem_unexpected to R.string.problem_unexpected_text
    }
    return Problem(title, advice, error.message?.takeIf { it.isNotBlank() } ?: error.javaClass.simpleName)
}
