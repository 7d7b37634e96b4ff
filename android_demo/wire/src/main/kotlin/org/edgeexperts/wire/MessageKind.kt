package org.edgeexperts.wire

import com.google.protobuf.ByteString
import com.google.protobuf.InvalidProtocolBufferException
import com.google.protobuf.MessageLite
import com.google.protobuf.Parser

/**
 * One message of the contract: bytes are checked once, here, where they enter; what comes out may be used without
 * asking again. Checks that need context (is this expert planned? is this device known?) belong to admission.
 *
 * Messages are written by their builders, with `wireVersion = WIRE_VERSION`.
 *
 * @property name as the schema has it.
 * @property limit in bytes: of a payload, or of a body that chunks carry.
 */
public class MessageKind<M : MessageLite> private constructor(
    public val name: String,
    public val limit: Int,
    private val parser: Parser<M>,
    private val version: (M) -> Int,
    private val check: (M) -> Unit,
    private val nested: Nested = Nested(),
) {
    /**
     * Reads and checks a message.
     *
     * @param data a payload, or for Delta and ClassStatistics the body that chunks carried.
     * @param limit in bytes.
     * @throws WireException with the code that SPEC.md, "Refusals", gives.
     */
    public fun decode(data: ByteArray, limit: Int = this.limit): M {
        if (data.size > limit) throw WireException(Code.TOO_LARGE, "$name of ${data.size} bytes, limit $limit")
        // Two bytes of an empty nested message cost fifty once parsed: count before, not after.
        if (!fieldsWithin(data, FIELDS_LIMIT)) {
            throw WireException(Code.TOO_LARGE, "$name of over $FIELDS_LIMIT fields")
        }
        if (!varintsFit(data, nested)) throw malformed("${data.size} bytes are no $name: a number is too long")
        val message = try {
            parser.parseFrom(data)
        } catch (error: InvalidProtocolBufferException) {
            throw malformed("${data.size} bytes are no $name", error)
        }
        val wireVersion = version(message).u32
        if (wireVersion != WIRE_VERSION.toLong()) {
            throw WireException(
                Code.UNSUPPORTED_WIRE,
                "wire version $wireVersion came, $WIRE_VERSION is spoken here",
            )
        }
        check(message)
        return message
    }

    /** Every message of the contract. */
    public companion object {
        public val GATEWAY_STATE: MessageKind<GatewayState> = MessageKind(
            "GatewayState", MESSAGE_LIMIT, GatewayState.parser(), GatewayState::getWireVersion, ::checkGatewayState,
        )
        public val HELLO: MessageKind<Hello> = MessageKind(
            "Hello", MESSAGE_LIMIT, Hello.parser(), Hello::getWireVersion, ::checkHello,
            Nested(setOf(Hello.REACHES_FIELD_NUMBER), packed = setOf(Hello.CODECS_FIELD_NUMBER)),
        )
        public val BYE: MessageKind<Bye> =
            MessageKind("Bye", MESSAGE_LIMIT, Bye.parser(), Bye::getWireVersion, ::checkBye)
        public val PLAN: MessageKind<Plan> = MessageKind(
            "Plan", MESSAGE_LIMIT, Plan.parser(), Plan::getWireVersion, ::checkPlan,
            Nested(
                setOf(Plan.TRAIN_FIELD_NUMBER, Plan.USE_FIELD_NUMBER),
                inside = mapOf(
                    Plan.MASKS_FIELD_NUMBER to Nested(
                        inside = mapOf(MaskTerms.CIRCLES_FIELD_NUMBER to Nested(setOf(CircleTerms.BLOCKS_FIELD_NUMBER))),
                    ),
                ),
            ),
        )
        public val DELTA: MessageKind<Delta> = MessageKind(
            "Delta", BODY_LIMIT, Delta.parser(), Delta::getWireVersion, ::checkDelta,
            Nested(setOf(Delta.EXPERTS_FIELD_NUMBER, Delta.USE_FIELD_NUMBER, Delta.MASKED_FIELD_NUMBER)),
        )
        public val CLASS_STATISTICS: MessageKind<ClassStatistics> = MessageKind(
            "ClassStatistics", BODY_LIMIT, ClassStatistics.parser(), ClassStatistics::getWireVersion,
            ::checkClassStatistics,
        )
        public val CHUNK: MessageKind<Chunk> =
            MessageKind("Chunk", MESSAGE_LIMIT, Chunk.parser(), Chunk::getWireVersion, ::checkChunk)
        public val VERDICT: MessageKind<Verdict> =
            MessageKind("Verdict", MESSAGE_LIMIT, Verdict.parser(), Verdict::getWireVersion, ::checkVerdict)
        public val VERSION: MessageKind<Version> = MessageKind(
            "Version", MESSAGE_LIMIT, Version.parser(), Version::getWireVersion, ::checkVersion,
            Nested(inside = mapOf(Version.BLOCKS_FIELD_NUMBER to Nested(setOf(Block.UPDATES_FIELD_NUMBER)))),
        )
        public val WANT: MessageKind<Want> =
            MessageKind("Want", MESSAGE_LIMIT, Want.parser(), Want::getWireVersion, ::checkWant)
        public val OFFER: MessageKind<Offer> =
            MessageKind("Offer", MESSAGE_LIMIT, Offer.parser(), Offer::getWireVersion, ::checkOffer)

        /** A device writes it; what others sent stands in a list of members. No shared cases decide on it. */
        public val MASK_KEYS: MessageKind<MaskKeys> = MessageKind(
            "MaskKeys", MESSAGE_LIMIT, MaskKeys.parser(), MaskKeys::getWireVersion, ::checkMaskKeys,
            Nested(setOf(MaskKeys.MASKING_FIELD_NUMBER)),
        )

        /** What a gateway tells of a round under masks; no shared cases decide on these either. */
        public val MASK_ROUND: MessageKind<MaskRound> =
            MessageKind("MaskRound", MESSAGE_LIMIT, MaskRound.parser(), MaskRound::getWireVersion, ::checkMaskRound)
        public val MASK_MEMBERS: MessageKind<MaskMembers> = MessageKind(
            "MaskMembers", MEMBERS_LIMIT, MaskMembers.parser(), MaskMembers::getWireVersion, ::checkMembers,
            Nested(
                setOf(MaskMembers.CIRCLES_FIELD_NUMBER),
                inside = mapOf(MaskMembers.MEMBERS_FIELD_NUMBER to Nested(setOf(MaskMember.MASKING_FIELD_NUMBER))),
            ),
        )
        public val MASK_DEALT: MessageKind<MaskDealt> = MessageKind(
            "MaskDealt", MASKS_LIMIT, MaskDealt.parser(), MaskDealt::getWireVersion, ::checkDealt,
            Nested(setOf(MaskDealt.SHARES_FIELD_NUMBER)),
        )
        public val MASK_SURVIVORS: MessageKind<MaskSurvivors> = MessageKind(
            "MaskSurvivors", MESSAGE_LIMIT, MaskSurvivors.parser(), MaskSurvivors::getWireVersion, ::checkSurvivors,
        )

        /** Those that shared cases decide on. */
        public val ALL: List<MessageKind<*>> = listOf(
            GATEWAY_STATE, HELLO, BYE, PLAN, DELTA, CLASS_STATISTICS, CHUNK, VERDICT, VERSION, WANT, OFFER,
        )
    }
}

/** Returns ids as the wire lists them: ascending, once each. */
public fun refs(ids: Iterable<ExpertId>): List<ExpertRef> =
    ids.toSortedSet().map { ExpertRef.newBuilder().setLayer(it.layer).setIndex(it.index).build() }

/** Returns bytes as a message's field takes them. */
public fun ByteArray.asField(): ByteString = ByteString.copyFrom(this)
