/** Sizes that both sides agree on: edge_runtime/wire/SPEC.md, "Limits". */
package org.edgeexperts.wire

public const val WIRE_VERSION: Int = 1

/** Bytes of one MQTT payload. */
public const val MESSAGE_LIMIT: Int = 128 * 1024

/** Bytes of one chunked body. */
public const val BODY_LIMIT: Int = 64 * 1024 * 1024

/** Bytes of a body or blob that concerns masks; of a MaskKeys [MESSAGE_LIMIT]. */
public const val MASKS_LIMIT: Int = 2 * 1024 * 1024

/** Bytes of a list of members, which has the certificate of each where keys are signed. */
public const val MEMBERS_LIMIT: Int = 4 * 1024 * 1024

/** Chunks of one body. */
public const val CHUNKS_LIMIT: Int = 65_536

/** Bytes of a certificate that comes with keys for masks. */
public const val CERTIFICATE_LIMIT: Int = 2_048

/** Bytes of a signature by ECDSA on P-256, in DER. */
public const val KEYS_SIGNATURE_LIMIT: Int = 72

/** Fields at the top level of a message, as written; unknown ones count. */
public const val FIELDS_LIMIT: Int = 100_000

/** Steps of a plan. */
public const val STEPS_LIMIT: Int = 1_000_000

/** Slots of a Hello. */
public const val SLOTS_LIMIT: Int = 65_535

/** Batch size of a Hello. */
public const val BATCH_LIMIT: Int = 65_536

/** Depths that a Hello tells of. */
public const val REACHES_LIMIT: Int = 64

/** Bytes that tell which chunks of a body lack. */
public const val MISSING_BYTES: Int = CHUNKS_LIMIT / 8

/** Steps back that a block of a Version lists. */
public const val UPDATES_LIMIT: Int = 8

/** Blobs asked for in one Want. */
public const val WANT_LIMIT: Int = 2_000

/** UTF-8 bytes of a Hello's profile and runtime. */
public const val NAME_BYTES: Int = 200

/** UTF-8 bytes of a Verdict's detail. */
public const val DETAIL_BYTES: Int = 1_000

/** Seconds of a Verdict's retry_after_s. */
public const val RETRY_LIMIT_S: Double = 86_400.0

/** Learning rates and weight decay. */
public const val RATE_LIMIT: Double = 10.0

/** Bytes of every digest: SHA-256. */
public const val DIGEST_BYTES: Int = 32

/** Bytes of a gateway's session. */
public const val SESSION_BYTES: Int = 16
