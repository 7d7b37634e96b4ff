package org.edgeexperts.wire

/** Base of every error that this project raises on purpose; its text is one line for people. */
public open class FederationException(message: String, cause: Throwable? = null) : Exception(message, cause)

/** A device package is missing, damaged, or not what its manifest says. */
public class PackageException(message: String, cause: Throwable? = null) : FederationException(message, cause)

/** A bank or a block of one has the wrong shape, digest or values. */
public class BankException(message: String, cause: Throwable? = null) : FederationException(message, cause)

/** A sum under masks cannot go on: a key or a list is not what the contract allows, or too few members are left. */
public class SecureException(message: String, cause: Throwable? = null) : FederationException(message, cause)

/** An enrolment file cannot be used; the text says which key is wrong and how. */
public class EnrolmentException(message: String, cause: Throwable? = null) : FederationException(message, cause)

/**
 * Bytes or a message are refused.
 *
 * @property code the same number in every language.
 * @property detail for people; holds no user text.
 */
public class WireException(public val code: Code, public val detail: String, cause: Throwable? = null) :
    FederationException("${code.name}: $detail", cause)

internal fun malformed(detail: String, cause: Throwable? = null): WireException =
    WireException(Code.MALFORMED, detail, cause)
