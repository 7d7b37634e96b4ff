from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODE_UNSPECIFIED: _ClassVar[Code]
    ACCEPTED: _ClassVar[Code]
    MALFORMED: _ClassVar[Code]
    UNSUPPORTED_WIRE: _ClassVar[Code]
    WRONG_FEDERATION: _ClassVar[Code]
    UNKNOWN_DEVICE: _ClassVar[Code]
    UNKNOWN_PLAN: _ClassVar[Code]
    NOT_PLANNED: _ClassVar[Code]
    WRONG_SIZE: _ClassVar[Code]
    NOT_FINITE: _ClassVar[Code]
    NORM_TOO_LARGE: _ClassVar[Code]
    STALE: _ClassVar[Code]
    DUPLICATE: _ClassVar[Code]
    TOO_LARGE: _ClassVar[Code]
    NO_EXAMPLES: _ClassVar[Code]
    DIGEST_MISMATCH: _ClassVar[Code]
    BUSY: _ClassVar[Code]
    STORAGE_FULL: _ClassVar[Code]
    REVOKED: _ClassVar[Code]
    UNSUPPORTED_CODEC: _ClassVar[Code]
    BAD_SIGNATURE: _ClassVar[Code]
    INCOMPLETE: _ClassVar[Code]

class Codec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FLOAT32: _ClassVar[Codec]
    INT8: _ClassVar[Codec]

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    HELLO: _ClassVar[Kind]
    DELTA: _ClassVar[Kind]
    STATISTICS: _ClassVar[Kind]
    BLOB: _ClassVar[Kind]
    KEYS: _ClassVar[Kind]
    SHARES: _ClassVar[Kind]
    ANSWER: _ClassVar[Kind]
CODE_UNSPECIFIED: Code
ACCEPTED: Code
MALFORMED: Code
UNSUPPORTED_WIRE: Code
WRONG_FEDERATION: Code
UNKNOWN_DEVICE: Code
UNKNOWN_PLAN: Code
NOT_PLANNED: Code
WRONG_SIZE: Code
NOT_FINITE: Code
NORM_TOO_LARGE: Code
STALE: Code
DUPLICATE: Code
TOO_LARGE: Code
NO_EXAMPLES: Code
DIGEST_MISMATCH: Code
BUSY: Code
STORAGE_FULL: Code
REVOKED: Code
UNSUPPORTED_CODEC: Code
BAD_SIGNATURE: Code
INCOMPLETE: Code
FLOAT32: Codec
INT8: Codec
KIND_UNSPECIFIED: Kind
HELLO: Kind
DELTA: Kind
STATISTICS: Kind
BLOB: Kind
KEYS: Kind
SHARES: Kind
ANSWER: Kind

class ExpertRef(_message.Message):
    __slots__ = ("layer", "index")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    layer: int
    index: int
    def __init__(self, layer: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class GatewayState(_message.Message):
    __slots__ = ("wire_version", "federation_digest", "online", "session", "version", "round", "rounds_planned", "finished", "serial", "signature")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_PLANNED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    federation_digest: bytes
    online: bool
    session: bytes
    version: int
    round: int
    rounds_planned: int
    finished: bool
    serial: int
    signature: bytes
    def __init__(self, wire_version: _Optional[int] = ..., federation_digest: _Optional[bytes] = ..., online: _Optional[bool] = ..., session: _Optional[bytes] = ..., version: _Optional[int] = ..., round: _Optional[int] = ..., rounds_planned: _Optional[int] = ..., finished: _Optional[bool] = ..., serial: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("wire_version", "device", "federation_digest", "package_digest", "gateway_session", "profile", "runtime", "trained_slots", "held_slots", "batch_size", "step_ms", "examples", "bytes_up_per_round", "bytes_down_per_round", "seconds_per_round", "codecs", "statistics_digest", "reaches", "masks", "devices", "signs_keys")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_SESSION_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    TRAINED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    HELD_SLOTS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    STEP_MS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    BYTES_UP_PER_ROUND_FIELD_NUMBER: _ClassVar[int]
    BYTES_DOWN_PER_ROUND_FIELD_NUMBER: _ClassVar[int]
    SECONDS_PER_ROUND_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REACHES_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    SIGNS_KEYS_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    federation_digest: bytes
    package_digest: bytes
    gateway_session: bytes
    profile: str
    runtime: str
    trained_slots: int
    held_slots: int
    batch_size: int
    step_ms: float
    examples: int
    bytes_up_per_round: int
    bytes_down_per_round: int
    seconds_per_round: float
    codecs: _containers.RepeatedScalarFieldContainer[Codec]
    statistics_digest: bytes
    reaches: _containers.RepeatedCompositeFieldContainer[Reach]
    masks: int
    devices: int
    signs_keys: bool
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., federation_digest: _Optional[bytes] = ..., package_digest: _Optional[bytes] = ..., gateway_session: _Optional[bytes] = ..., profile: _Optional[str] = ..., runtime: _Optional[str] = ..., trained_slots: _Optional[int] = ..., held_slots: _Optional[int] = ..., batch_size: _Optional[int] = ..., step_ms: _Optional[float] = ..., examples: _Optional[int] = ..., bytes_up_per_round: _Optional[int] = ..., bytes_down_per_round: _Optional[int] = ..., seconds_per_round: _Optional[float] = ..., codecs: _Optional[_Iterable[_Union[Codec, str]]] = ..., statistics_digest: _Optional[bytes] = ..., reaches: _Optional[_Iterable[_Union[Reach, _Mapping]]] = ..., masks: _Optional[int] = ..., devices: _Optional[int] = ..., signs_keys: _Optional[bool] = ...) -> None: ...

class Reach(_message.Message):
    __slots__ = ("layers", "step_ms", "trunk_ms")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    STEP_MS_FIELD_NUMBER: _ClassVar[int]
    TRUNK_MS_FIELD_NUMBER: _ClassVar[int]
    layers: int
    step_ms: float
    trunk_ms: float
    def __init__(self, layers: _Optional[int] = ..., step_ms: _Optional[float] = ..., trunk_ms: _Optional[float] = ...) -> None: ...

class Bye(_message.Message):
    __slots__ = ("wire_version", "device")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("wire_version", "device", "round", "base_version", "version_digest", "train", "steps", "learning_rate", "shared_learning_rate", "head_learning_rate", "weight_decay", "seed", "deadline_s", "codec", "use", "balance_pressure", "masks", "serial", "signature")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    SHARED_LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    HEAD_LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    BALANCE_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    round: int
    base_version: int
    version_digest: bytes
    train: _containers.RepeatedCompositeFieldContainer[ExpertRef]
    steps: int
    learning_rate: float
    shared_learning_rate: float
    head_learning_rate: float
    weight_decay: float
    seed: int
    deadline_s: float
    codec: Codec
    use: _containers.RepeatedCompositeFieldContainer[LayerUse]
    balance_pressure: float
    masks: _containers.RepeatedCompositeFieldContainer[MaskTerms]
    serial: int
    signature: bytes
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., round: _Optional[int] = ..., base_version: _Optional[int] = ..., version_digest: _Optional[bytes] = ..., train: _Optional[_Iterable[_Union[ExpertRef, _Mapping]]] = ..., steps: _Optional[int] = ..., learning_rate: _Optional[float] = ..., shared_learning_rate: _Optional[float] = ..., head_learning_rate: _Optional[float] = ..., weight_decay: _Optional[float] = ..., seed: _Optional[int] = ..., deadline_s: _Optional[float] = ..., codec: _Optional[_Union[Codec, str]] = ..., use: _Optional[_Iterable[_Union[LayerUse, _Mapping]]] = ..., balance_pressure: _Optional[float] = ..., masks: _Optional[_Iterable[_Union[MaskTerms, _Mapping]]] = ..., serial: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class LayerUse(_message.Message):
    __slots__ = ("layer", "use")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    layer: int
    use: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, layer: _Optional[int] = ..., use: _Optional[_Iterable[float]] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ("wire_version", "device", "plan_digest", "round", "base_version", "examples", "codec", "experts", "loss_first", "loss_last", "step_ms", "steps", "use", "label_counts", "members", "masked")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIRST_FIELD_NUMBER: _ClassVar[int]
    LOSS_LAST_FIELD_NUMBER: _ClassVar[int]
    STEP_MS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNTS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    plan_digest: bytes
    round: int
    base_version: int
    examples: int
    codec: Codec
    experts: _containers.RepeatedCompositeFieldContainer[ExpertDelta]
    loss_first: float
    loss_last: float
    step_ms: float
    steps: int
    use: _containers.RepeatedCompositeFieldContainer[ExpertUse]
    label_counts: _containers.RepeatedScalarFieldContainer[float]
    members: bytes
    masked: _containers.RepeatedCompositeFieldContainer[MaskedCircle]
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., plan_digest: _Optional[bytes] = ..., round: _Optional[int] = ..., base_version: _Optional[int] = ..., examples: _Optional[int] = ..., codec: _Optional[_Union[Codec, str]] = ..., experts: _Optional[_Iterable[_Union[ExpertDelta, _Mapping]]] = ..., loss_first: _Optional[float] = ..., loss_last: _Optional[float] = ..., step_ms: _Optional[float] = ..., steps: _Optional[int] = ..., use: _Optional[_Iterable[_Union[ExpertUse, _Mapping]]] = ..., label_counts: _Optional[_Iterable[float]] = ..., members: _Optional[bytes] = ..., masked: _Optional[_Iterable[_Union[MaskedCircle, _Mapping]]] = ...) -> None: ...

class ExpertDelta(_message.Message):
    __slots__ = ("layer", "index", "values")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    layer: int
    index: int
    values: bytes
    def __init__(self, layer: _Optional[int] = ..., index: _Optional[int] = ..., values: _Optional[bytes] = ...) -> None: ...

class ExpertUse(_message.Message):
    __slots__ = ("layer", "index", "routed", "seen")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ROUTED_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    layer: int
    index: int
    routed: float
    seen: float
    def __init__(self, layer: _Optional[int] = ..., index: _Optional[int] = ..., routed: _Optional[float] = ..., seen: _Optional[float] = ...) -> None: ...

class ClassStatistics(_message.Message):
    __slots__ = ("wire_version", "device", "federation_digest", "width", "counts", "sums")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    federation_digest: bytes
    width: int
    counts: bytes
    sums: bytes
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., federation_digest: _Optional[bytes] = ..., width: _Optional[int] = ..., counts: _Optional[bytes] = ..., sums: _Optional[bytes] = ...) -> None: ...

class PartialSum(_message.Message):
    __slots__ = ("wire_version", "device", "plan_digest", "round", "base_version", "devices", "blocks", "examples", "loss_first", "loss_last", "step_ms", "most_examples")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIRST_FIELD_NUMBER: _ClassVar[int]
    LOSS_LAST_FIELD_NUMBER: _ClassVar[int]
    STEP_MS_FIELD_NUMBER: _ClassVar[int]
    MOST_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    plan_digest: bytes
    round: int
    base_version: int
    devices: int
    blocks: _containers.RepeatedCompositeFieldContainer[BlockSum]
    examples: int
    loss_first: float
    loss_last: float
    step_ms: float
    most_examples: int
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., plan_digest: _Optional[bytes] = ..., round: _Optional[int] = ..., base_version: _Optional[int] = ..., devices: _Optional[int] = ..., blocks: _Optional[_Iterable[_Union[BlockSum, _Mapping]]] = ..., examples: _Optional[int] = ..., loss_first: _Optional[float] = ..., loss_last: _Optional[float] = ..., step_ms: _Optional[float] = ..., most_examples: _Optional[int] = ...) -> None: ...

class BlockSum(_message.Message):
    __slots__ = ("layer", "index", "values", "weights", "devices", "steps", "size")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    layer: int
    index: int
    values: bytes
    weights: bytes
    devices: int
    steps: bytes
    size: int
    def __init__(self, layer: _Optional[int] = ..., index: _Optional[int] = ..., values: _Optional[bytes] = ..., weights: _Optional[bytes] = ..., devices: _Optional[int] = ..., steps: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class PartialStatistics(_message.Message):
    __slots__ = ("wire_version", "device", "federation_digest", "width", "devices", "counts", "sums")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    federation_digest: bytes
    width: int
    devices: int
    counts: bytes
    sums: bytes
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., federation_digest: _Optional[bytes] = ..., width: _Optional[int] = ..., devices: _Optional[int] = ..., counts: _Optional[bytes] = ..., sums: _Optional[bytes] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("wire_version", "kind", "digest", "index", "count", "total", "payload")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    kind: Kind
    digest: bytes
    index: int
    count: int
    total: int
    payload: bytes
    def __init__(self, wire_version: _Optional[int] = ..., kind: _Optional[_Union[Kind, str]] = ..., digest: _Optional[bytes] = ..., index: _Optional[int] = ..., count: _Optional[int] = ..., total: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("wire_version", "kind", "digest", "code", "detail", "retry_after_s", "want_statistics", "round", "missing", "serial", "signature")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    WANT_STATISTICS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    kind: Kind
    digest: bytes
    code: Code
    detail: str
    retry_after_s: float
    want_statistics: bool
    round: int
    missing: bytes
    serial: int
    signature: bytes
    def __init__(self, wire_version: _Optional[int] = ..., kind: _Optional[_Union[Kind, str]] = ..., digest: _Optional[bytes] = ..., code: _Optional[_Union[Code, str]] = ..., detail: _Optional[str] = ..., retry_after_s: _Optional[float] = ..., want_statistics: _Optional[bool] = ..., round: _Optional[int] = ..., missing: _Optional[bytes] = ..., serial: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("wire_version", "federation_digest", "version", "parent", "digest", "round", "blocks", "serial", "signature")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    federation_digest: bytes
    version: int
    parent: int
    digest: bytes
    round: int
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    serial: int
    signature: bytes
    def __init__(self, wire_version: _Optional[int] = ..., federation_digest: _Optional[bytes] = ..., version: _Optional[int] = ..., parent: _Optional[int] = ..., digest: _Optional[bytes] = ..., round: _Optional[int] = ..., blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ..., serial: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("layer", "index", "digest", "updates")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    layer: int
    index: int
    digest: bytes
    updates: _containers.RepeatedCompositeFieldContainer[Update]
    def __init__(self, layer: _Optional[int] = ..., index: _Optional[int] = ..., digest: _Optional[bytes] = ..., updates: _Optional[_Iterable[_Union[Update, _Mapping]]] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("base", "digest")
    BASE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    base: bytes
    digest: bytes
    def __init__(self, base: _Optional[bytes] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Want(_message.Message):
    __slots__ = ("wire_version", "device", "digests", "missing")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    digests: _containers.RepeatedScalarFieldContainer[bytes]
    missing: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., digests: _Optional[_Iterable[bytes]] = ..., missing: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("wire_version", "device", "kind", "digest", "count", "total")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    kind: Kind
    digest: bytes
    count: int
    total: int
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., kind: _Optional[_Union[Kind, str]] = ..., digest: _Optional[bytes] = ..., count: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class MaskTerms(_message.Message):
    __slots__ = ("version", "circles", "limit", "most_weight", "examples_per_weight", "expert_step", "shared_step", "head_step", "expert_norm", "shared_norm", "head_norm", "class_step", "class_examples", "whole_norm")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CIRCLES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MOST_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_PER_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    EXPERT_STEP_FIELD_NUMBER: _ClassVar[int]
    SHARED_STEP_FIELD_NUMBER: _ClassVar[int]
    HEAD_STEP_FIELD_NUMBER: _ClassVar[int]
    EXPERT_NORM_FIELD_NUMBER: _ClassVar[int]
    SHARED_NORM_FIELD_NUMBER: _ClassVar[int]
    HEAD_NORM_FIELD_NUMBER: _ClassVar[int]
    CLASS_STEP_FIELD_NUMBER: _ClassVar[int]
    CLASS_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    WHOLE_NORM_FIELD_NUMBER: _ClassVar[int]
    version: int
    circles: _containers.RepeatedCompositeFieldContainer[CircleTerms]
    limit: int
    most_weight: int
    examples_per_weight: float
    expert_step: float
    shared_step: float
    head_step: float
    expert_norm: float
    shared_norm: float
    head_norm: float
    class_step: float
    class_examples: float
    whole_norm: int
    def __init__(self, version: _Optional[int] = ..., circles: _Optional[_Iterable[_Union[CircleTerms, _Mapping]]] = ..., limit: _Optional[int] = ..., most_weight: _Optional[int] = ..., examples_per_weight: _Optional[float] = ..., expert_step: _Optional[float] = ..., shared_step: _Optional[float] = ..., head_step: _Optional[float] = ..., expert_norm: _Optional[float] = ..., shared_norm: _Optional[float] = ..., head_norm: _Optional[float] = ..., class_step: _Optional[float] = ..., class_examples: _Optional[float] = ..., whole_norm: _Optional[int] = ...) -> None: ...

class CircleTerms(_message.Message):
    __slots__ = ("number", "blocks", "variance", "least")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    VARIANCE_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    number: int
    blocks: _containers.RepeatedCompositeFieldContainer[ExpertRef]
    variance: int
    least: int
    def __init__(self, number: _Optional[int] = ..., blocks: _Optional[_Iterable[_Union[ExpertRef, _Mapping]]] = ..., variance: _Optional[int] = ..., least: _Optional[int] = ...) -> None: ...

class MaskRound(_message.Message):
    __slots__ = ("wire_version", "device", "round", "plan_digest", "members", "dealt", "survivors", "serial", "signature")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    DEALT_FIELD_NUMBER: _ClassVar[int]
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    round: int
    plan_digest: bytes
    members: bytes
    dealt: bytes
    survivors: bytes
    serial: int
    signature: bytes
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., round: _Optional[int] = ..., plan_digest: _Optional[bytes] = ..., members: _Optional[bytes] = ..., dealt: _Optional[bytes] = ..., survivors: _Optional[bytes] = ..., serial: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class MaskKeys(_message.Message):
    __slots__ = ("wire_version", "device", "plan_digest", "sharing", "masking", "round", "certificate", "signature")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SHARING_FIELD_NUMBER: _ClassVar[int]
    MASKING_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    plan_digest: bytes
    sharing: bytes
    masking: _containers.RepeatedCompositeFieldContainer[CircleKey]
    round: int
    certificate: bytes
    signature: bytes
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., plan_digest: _Optional[bytes] = ..., sharing: _Optional[bytes] = ..., masking: _Optional[_Iterable[_Union[CircleKey, _Mapping]]] = ..., round: _Optional[int] = ..., certificate: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class CircleKey(_message.Message):
    __slots__ = ("circle", "key")
    CIRCLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    circle: int
    key: bytes
    def __init__(self, circle: _Optional[int] = ..., key: _Optional[bytes] = ...) -> None: ...

class MaskMembers(_message.Message):
    __slots__ = ("wire_version", "round", "members", "circles")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    CIRCLES_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    round: int
    members: _containers.RepeatedCompositeFieldContainer[MaskMember]
    circles: _containers.RepeatedCompositeFieldContainer[MaskCircle]
    def __init__(self, wire_version: _Optional[int] = ..., round: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MaskMember, _Mapping]]] = ..., circles: _Optional[_Iterable[_Union[MaskCircle, _Mapping]]] = ...) -> None: ...

class MaskMember(_message.Message):
    __slots__ = ("digest", "sharing", "masking", "keys")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SHARING_FIELD_NUMBER: _ClassVar[int]
    MASKING_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    sharing: bytes
    masking: _containers.RepeatedCompositeFieldContainer[CircleKey]
    keys: bytes
    def __init__(self, digest: _Optional[bytes] = ..., sharing: _Optional[bytes] = ..., masking: _Optional[_Iterable[_Union[CircleKey, _Mapping]]] = ..., keys: _Optional[bytes] = ...) -> None: ...

class MaskCircle(_message.Message):
    __slots__ = ("number", "neighbours", "threshold", "least", "bits")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    number: int
    neighbours: int
    threshold: int
    least: int
    bits: int
    def __init__(self, number: _Optional[int] = ..., neighbours: _Optional[int] = ..., threshold: _Optional[int] = ..., least: _Optional[int] = ..., bits: _Optional[int] = ...) -> None: ...

class MaskShares(_message.Message):
    __slots__ = ("wire_version", "device", "members", "shares")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    members: bytes
    shares: _containers.RepeatedCompositeFieldContainer[SealedShares]
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., members: _Optional[bytes] = ..., shares: _Optional[_Iterable[_Union[SealedShares, _Mapping]]] = ...) -> None: ...

class SealedShares(_message.Message):
    __slots__ = ("place", "data")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    place: int
    data: bytes
    def __init__(self, place: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class MaskDealt(_message.Message):
    __slots__ = ("wire_version", "members", "dealt", "shares")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    DEALT_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    members: bytes
    dealt: bytes
    shares: _containers.RepeatedCompositeFieldContainer[SealedShares]
    def __init__(self, wire_version: _Optional[int] = ..., members: _Optional[bytes] = ..., dealt: _Optional[bytes] = ..., shares: _Optional[_Iterable[_Union[SealedShares, _Mapping]]] = ...) -> None: ...

class MaskedCircle(_message.Message):
    __slots__ = ("number", "words")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    number: int
    words: bytes
    def __init__(self, number: _Optional[int] = ..., words: _Optional[bytes] = ...) -> None: ...

class MaskSurvivors(_message.Message):
    __slots__ = ("wire_version", "members", "dealt", "survivors")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    DEALT_FIELD_NUMBER: _ClassVar[int]
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    members: bytes
    dealt: bytes
    survivors: bytes
    def __init__(self, wire_version: _Optional[int] = ..., members: _Optional[bytes] = ..., dealt: _Optional[bytes] = ..., survivors: _Optional[bytes] = ...) -> None: ...

class MaskAnswer(_message.Message):
    __slots__ = ("wire_version", "device", "survivors", "shares")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    device: str
    survivors: bytes
    shares: _containers.RepeatedCompositeFieldContainer[ToldShare]
    def __init__(self, wire_version: _Optional[int] = ..., device: _Optional[str] = ..., survivors: _Optional[bytes] = ..., shares: _Optional[_Iterable[_Union[ToldShare, _Mapping]]] = ...) -> None: ...

class ToldShare(_message.Message):
    __slots__ = ("circle", "place", "share")
    CIRCLE_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    circle: int
    place: int
    share: bytes
    def __init__(self, circle: _Optional[int] = ..., place: _Optional[int] = ..., share: _Optional[bytes] = ...) -> None: ...
