/** Errors of a device. Each text is one line: what came, what was expected, what to do; never a user's text. */
package org.edgeexperts.core

import org.edgeexperts.wire.FederationException

/** Base of every error that a device raises on purpose. */
public open class EdgeException(message: String, cause: Throwable? = null) : FederationException(message, cause)

/** An argument or a combination of arguments that cannot work. */
public class ConfigException(message: String, cause: Throwable? = null) : EdgeException(message, cause)

/** No tier of the package fits what this device may spend. */
public class BudgetException(message: String) : EdgeException(message)

/** A tokenizer's file cannot be used. */
public class TokenizerException(message: String, cause: Throwable? = null) : EdgeException(message, cause)

/** A plan asks for what this package or tier cannot do. */
public class PlanException(message: String) : EdgeException(message)

/** The state directory cannot be used. */
public open class StoreException(message: String, cause: Throwable? = null) : EdgeException(message, cause)

/** A file of the state directory is not what was written there. */
public class DamagedException(message: String, cause: Throwable? = null) : StoreException(message, cause)

/** An event came in a state that has no place for it; the session is unchanged. */
public class SessionException(message: String) : EdgeException(message)

/** A program cannot be opened or executed. */
public class EngineException(message: String, cause: Throwable? = null) : EdgeException(message, cause)

/** A text, a label or an example is not what can be learned from. */
public class ExampleException(message: String) : EdgeException(message)

/** The gateway will not have this device; the text says why. */
public class ExpelledException(message: String) : EdgeException(message)
