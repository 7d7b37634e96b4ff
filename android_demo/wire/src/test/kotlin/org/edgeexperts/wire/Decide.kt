/** Replays a case: what this implementation makes of its bytes. edge_runtime/wire/vectors/decide.py has the same table. */
package org.edgeexperts.wire

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** What was decided: expected to be a case's expect and meaning. */
data class Decision(val verdict: String, val meaning: Map<String, Any?>?)

internal typealias Context = Map<*, *>

internal fun Context.long(name: String): Long = any(name) as Long

internal fun Context.int(name: String): Int = long(name).toInt()

internal fun Context.any(name: String): Any = requireNotNull(this[name]) { "no $name in the context" }

/** One kind: the keys that its context may have, and what becomes of the bytes. */
internal class Rule(vararg val keys: String, val replay: (ByteArray, Context) -> Map<String, Any?>)

private val SHAPE_KEYS = arrayOf("layers", "experts", "rank", "shared_rank", "width", "labels")

private val METHOD_KEYS = arrayOf(
    "top_k", "vocabulary", "kind", "trained", "frozen", "sequence", "rows", "batch", "recompute", "cut", "trained_layers",
)

private val RULES: Map<String, Rule> = MessageKind.ALL.associate { it.name to messageRule(it) } + mapOf(
    "Chunks" to Rule { data, _ -> chunks(data) },
    "Missing" to Rule("count") { data, context ->
        mapOf("indexes" to missingChunks(data, context.int("count")).map(Int::toLong))
    },
    "Values" to Rule("codec", "count") { data, context ->
        mapOf("values" to decodeValues(data, context.long("count"), context.int("codec")).map(Float::toDouble))
    },
    "Encode" to Rule("codec") { data, context ->
        mapOf("hex" to hex(encodeValues(floats(data), context.int("codec"))))
    },
    "Update" to Rule("base") { data, context ->
        mapOf("hex" to hex(encodeValues(applyUpdate(floats(unhex(context.any("base") as String)), data))))
    },
    "BlockDigest" to Rule("codec", "count") { data, context ->
        val values = decodeValues(data, context.long("count"), context.int("codec"))
        mapOf("digest" to hex(sha256(encodeValues(values))))
    },
    "VersionDigest" to Rule { data, _ -> mapOf("digest" to hex(versionDigest(records(data)))) },
    "BlockLayout" to Rule("block", "width", "rank", "labels", replay = ::layout),
    "BankShape" to Rule(*SHAPE_KEYS) { _, context ->
        val shape = shapeOf(context)
        mapOf("sizes" to shape.ids().map { listOf(it.layer.u32, it.index.u32, shape.size(it).toLong()) })
    },
    "Bank" to Rule(*SHAPE_KEYS, "federation_digest") { data, context ->
        val federation = (context.any("federation_digest") as String).chunked(2).map { it.toInt(16).toByte() }.toByteArray()
        val bank = Bank.fromBytes(data, shapeOf(context), federation)
        fun values(block: ExpertId) =
            if (block in bank.shape.ids()) bank.block(block).map(Float::toDouble) else emptyList()
        mapOf("digest" to hex(bank.digest()), "head" to values(HEAD), "mean" to values(MEAN))
    },
    "ClassMeans" to Rule("labels", "width", "logit_scale") { data, context ->
        val (values, labels) = floats(data) to context.int("labels")
        val sums = ClassSums(values.copyOf(labels), values.copyOfRange(labels, labels * (1 + context.int("width"))))
        val blocks = sums.classMeanHead(context.any("logit_scale") as Double)
        fun told(block: ExpertId) = blocks.getValue(block).map(Float::toDouble)
        mapOf("head" to told(HEAD), "mean" to told(MEAN))
    },
    "LabelPrior" to Rule("labels", "strength") { data, context ->
        val (values, labels) = floats(data) to context.int("labels")
        val weights = labelWeights(values.copyOf(labels), context.any("strength") as Double)
        mapOf("probabilities" to withPrior(values.copyOfRange(labels, values.size), weights).map(Float::toDouble))
    },
    "EpochOrder" to Rule("seed", "epoch", "count") { _, context ->
        val seed = (context.any("seed") as String).toULong().toLong()
        mapOf("order" to epochOrder(seed, context.long("epoch"), context.int("count")).map(Int::toLong))
    },
    "Packing" to Rule("lengths", "rows", "sequence", "batch") { _, context -> packing(context) },
    "Topic" to Rule { data, _ -> topic(data) },
    "Manifest" to Rule { data, _ -> manifest(data) },
    "ProgramInterface" to Rule(*SHAPE_KEYS, *METHOD_KEYS) { _, context -> programInterface(context) },
    "Hyper" to Rule("step", "learning_rate", "head_learning_rate", "shared_learning_rate", "weight_decay") { _, context ->
        hyper(context)
    },
    "Enrolment" to Rule { data, _ -> enrolment(data) },
    "BrokerUrl" to Rule("allow_plaintext") { data, context ->
        brokerUrl(BrokerUrl.parse(data.toString(Charsets.UTF_8), context["allow_plaintext"] == true))
    },
    "SignedMessage" to Rule("key", "topic") { data, context ->
        val serial = verifyMessage(unhex(context.any("key") as String), context.any("topic") as String, data)
        mapOf("serial" to serial.toULong().toString())
    },
    "SignedManifest" to Rule("key", "signature") { data, context ->
        verifyManifest(unhex(context.any("key") as String), data, unhex(context.any("signature") as String))
        emptyMap()
    },
) + SECURE_RULES

/** The kinds that are known here. */
val KINDS: Set<String> = RULES.keys

/** Returns what is expected to be the case's; a kind or a key of its context that is not known fails. */
fun decide(case: Case): Decision {
    val rule = requireNotNull(RULES[case.kind]) { "${case.name}: unknown kind ${case.kind}" }
    val unknown = case.context.keys - rule.keys.toSet()
    require(unknown.isEmpty()) { "${case.name}: unknown keys $unknown in its context" }
    return try {
        Decision("ACCEPT", rule.replay(case.data, case.context))
    } catch (error: WireException) {
        Decision(error.code.name, null)
    } catch (_: FederationException) {
        Decision("REFUSED", null)
    }
}

private fun messageRule(kind: MessageKind<*>) = Rule("limit") { data, context ->
    fieldsOf(if ("limit" in context.keys) kind.decode(data, context.int("limit")) else kind.decode(data))
}

internal fun little(data: ByteArray): ByteBuffer = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN)

internal fun floats(data: ByteArray) = little(data).let { buffer -> FloatArray(data.size / 4) { buffer.getFloat() } }

private fun chunks(data: ByteArray): Map<String, Any?> {
    val assembler = Assembler()
    val bodies = ArrayList<Map<String, Any?>>()
    val buffer = little(data)
    var number = 0L
    while (buffer.hasRemaining()) {
        val payload = ByteArray(buffer.getInt()).also(buffer::get)
        val body = assembler.add("device-1", MessageKind.CHUNK.decode(payload))
        if (body != null) {
            bodies += mapOf("after" to number, "bytes" to body.size.toLong(), "sha256" to hex(sha256(body)))
        }
        number++
    }
    return mapOf("bodies" to bodies)
}

private fun records(data: ByteArray): Map<ExpertId, ByteArray> {
    val buffer = little(data)
    return List(data.size / 40) {
        ExpertId(buffer.getInt(), buffer.getInt()) to ByteArray(DIGEST_BYTES).also(buffer::get)
    }.toMap()
}

private fun layout(data: ByteArray, context: Context): Map<String, Any?> {
    val width = context.int("width")
    val parts = when (val block = context.any("block")) {
        "expert" -> expertParts(width, context.int("rank"))
        "shared" -> sharedParts(width, context.int("rank"))
        "head" -> headParts(width, context.int("labels"))
        else -> error("unknown block $block")
    }
    val values = decodeValues(data, parts.sumOf { it.size }.toLong()).map(Float::toDouble)
    val tensors = parts.associate { part ->
        val flat = values.subList(part.offset, part.offset + part.size)
        part.name to if (part.shape.size == 2) flat.chunked(part.shape[1]) else flat
    }
    return mapOf("parts" to tensors)
}

private fun shapeOf(context: Context): BankShape = BankShape(
    layers = (context.any("layers") as List<*>).map { it as Long },
    experts = context.long("experts"),
    rank = context.long("rank"),
    sharedRank = context.long("shared_rank"),
    width = context.long("width"),
    labels = context.long("labels"),
)

private fun packing(context: Context): Map<String, Any?> {
    val lengths = (context.any("lengths") as List<*>).map { (it as Long).toInt() }
    val capacity = Capacity(context.int("rows"), context.int("sequence"), context.int("batch"))
    return mapOf(
        "stands" to pack(lengths, capacity).map { listOf(it.row.toLong(), it.first.toLong(), it.count.toLong()) },
        "steps" to packedSteps(lengths, capacity).map(Int::toLong),
        "holds" to holds(lengths, capacity),
    )
}

private fun topic(data: ByteArray): Map<String, Any?> {
    val address = Address.parse(data.toString(Charsets.UTF_8))
    return mapOf(
        "federation" to address.federation,
        "topic" to address.topic.word,
        "name" to address.name,
        "retained" to address.topic.retained,
    )
}

private fun manifest(data: ByteArray): Map<String, Any?> {
    val manifest = Manifest.fromJson(data)
    return mapOf(
        "federation_digest" to hex(manifest.architecture.digest()),
        "canonical" to manifest.architecture.canonical().toString(Charsets.UTF_8),
        "labels" to manifest.architecture.labels,
        "files" to manifest.files.keys.sorted(),
    )
}

private fun programInterface(context: Context): Map<String, Any?> {
    val method = MethodShape(
        MethodKind.entries.single { it.word == context.any("kind") },
        context.long("trained"), context.long("frozen"), context.long("sequence"), context.long("rows"),
        context.long("batch"), context.any("recompute") as String, context.any("cut") as Boolean,
        context.long("trained_layers"),
    )
    val spec = methodSpec(ModelShape(shapeOf(context), context.long("top_k"), context.long("vocabulary")), method)
    fun listed(tensors: List<TensorSpec>) = tensors.map { listOf(it.name, it.dtype, it.shape) }
    return mapOf("name" to method.name, "inputs" to listed(spec.inputs), "outputs" to listed(spec.outputs))
}

private fun hyper(context: Context): Map<String, Any?> {
    fun rate(name: String) = context.any(name) as Double
    val values = hyperValues(
        context.int("step"), rate("learning_rate"), rate("head_learning_rate"), rate("shared_learning_rate"),
        rate("weight_decay"),
    )
    return mapOf(
        "values" to values.map(Float::toDouble),
        "places" to HYPER_PLACES.mapValues { it.value.toLong() },
        "size" to HYPER_SIZE.toLong(),
    )
}

private fun enrolment(data: ByteArray): Map<String, Any?> {
    val enrolment = Enrolment.fromJson(data)
    val at = enrolment.gateway
    return mapOf(
        "enrolment_format" to ENROLMENT_FORMAT,
        "device" to enrolment.device,
        "federation" to enrolment.federation,
        "federation_digest" to enrolment.federationDigest,
        "package_digest" to enrolment.packageDigest,
        "gateway" to mapOf(
            "host" to at.host, "port" to at.port.toLong(), "tls" to at.tls, "allow_plaintext" to at.allowPlaintext,
            "websocket" to at.websocket,
        ),
        "ca" to enrolment.ca,
        "certificate" to enrolment.certificate,
        "key" to enrolment.key,
        "user" to enrolment.user,
        "password" to enrolment.password,
        "gateway_key" to enrolment.gatewayKey,
        "package_key" to enrolment.packageKey,
    )
}

private fun brokerUrl(url: BrokerUrl): Map<String, Any?> = mapOf(
    "host" to url.host,
    "port" to url.port.toLong(),
    "tls" to url.tls,
    "user" to url.user,
    "password" to url.password,
    "websocket" to url.websocket,
    "shown" to url.toString(),
)
