"""The messages of `inference.GRPCInferenceService`, made from a table: no generated code, no global registry.

Names and numbers are those of the Open Inference Protocol, with Triton's model repository:
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "inference"
SERVICE: Final = f"{PACKAGE}.GRPCInferenceService"
_Fields = tuple[str, ...]
"""Fields as `name number type`; `*` before a type: repeated, `?`: one of the message's choices, `%`: a map
from text."""
_CHOICES: Final[_Fields] = ("bool_param 1 ?bool", "int64_param 2 ?int64", "string_param 3 ?string")
_TENSOR: Final[_Fields] = (
    "name 1 string",
    "datatype 2 string",
    "shape 3 *int64",
    "parameters 4 %InferParameter",
    "contents 5 InferTensorContents",
)
_CHANGE: Final[_Fields] = (
    "repository_name 1 string",
    "model_name 2 string",
    "parameters 3 %ModelRepositoryParameter",
)
_MESSAGES: Final[dict[str, _Fields]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live 1 bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready 1 bool",),
    "ModelReadyRequest": ("name 1 string", "version 2 string"),
    "ModelReadyResponse": ("ready 1 bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name 1 string", "version 2 string", "extensions 3 *string"),
    "ModelMetadataRequest": ("name 1 string", "version 2 string"),
    "ModelMetadataResponse": (
        "name 1 string",
        "versions 2 *string",
        "platform 3 string",
        "inputs 4 *ModelMetadataResponse.TensorMetadata",
        "outputs 5 *ModelMetadataResponse.TensorMetadata",
    ),
    "ModelMetadataResponse.TensorMetadata": ("name 1 string", "datatype 2 string", "shape 3 *int64"),
    "InferParameter": (*_CHOICES, "double_param 4 ?double", "uint64_param 5 ?uint64"),
    "InferTensorContents": (
        "bool_contents 1 *bool",
        "int_contents 2 *int32",
        "int64_contents 3 *int64",
        "uint_contents 4 *uint32",
        "uint64_contents 5 *uint64",
        "fp32_contents 6 *float",
        "fp64_contents 7 *double",
        "bytes_contents 8 *bytes",
    ),
    "ModelInferRequest": (
        "model_name 1 string",
        "model_version 2 string",
        "id 3 string",
        "parameters 4 %InferParameter",
        "inputs 5 *ModelInferRequest.InferInputTensor",
        "outputs 6 *ModelInferRequest.InferRequestedOutputTensor",
        "raw_input_contents 7 *bytes",
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": ("name 1 string", "parameters 2 %InferParameter"),
    "ModelInferResponse": (
        "model_name 1 string",
        "model_version 2 string",
        "id 3 string",
        "parameters 4 %InferParameter",
        "outputs 5 *ModelInferResponse.InferOutputTensor",
        "raw_output_contents 6 *bytes",
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "ModelRepositoryParameter": (*_CHOICES, "bytes_param 4 ?bytes"),
    "RepositoryIndexRequest": ("repository_name 1 string", "ready 2 bool"),
    "RepositoryIndexResponse": ("models 1 *RepositoryIndexResponse.ModelIndex",),
    "RepositoryIndexResponse.ModelIndex": (
        "name 1 string",
        "version 2 string",
        "state 3 string",
        "reason 4 string",
    ),
    "RepositoryModelLoadRequest": _CHANGE,
    "RepositoryModelLoadResponse": (),
    "RepositoryModelUnloadRequest": _CHANGE,
    "RepositoryModelUnloadResponse": (),
}
METHODS: Final = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer",
    "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload",
)  # fmt: skip
_CHOICE: Final = "parameter_choice"


def _add_field(message: Any, text: str) -> None:
    name, number, kind = text.split()
    field = message.field.add(name=name, number=int(number), label=1)
    mark = kind[0] if kind[0] in "*?%" else ""
    kind = kind.removeprefix(mark)
    if mark == "?":
        if not message.oneof_decl:
            message.oneof_decl.add(name=_CHOICE)
        field.oneof_index = 0
    if mark in {"*", "%"}:
        field.label = 3
    if mark == "%":
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add_field(entry, "key 1 string")
        _add_field(entry, f"value 2 {kind}")
        kind = f"{message.name}.ParametersEntry"
        field.type_name = "ParametersEntry"
    scalar = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}", None)
    field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE if scalar is None else scalar
    if scalar is None and not field.type_name:
        field.type_name = f".{PACKAGE}.{kind}"


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="holdfast/inference.proto", package=PACKAGE)
    file.syntax = "proto3"
    made: dict[str, Any] = {}
    for name, fields in _MESSAGES.items():
        outer, _, inner = name.partition(".")
        message = made[outer].nested_type.add(name=inner) if inner else file.message_type.add(name=name)
        made[name] = message
        for text in fields:
            _add_field(message, text)
    service = file.service.add(name=SERVICE.removeprefix(f"{PACKAGE}."))
    for method in METHODS:
        service.method.add(
            name=method,
            input_type=f".{PACKAGE}.{method}Request",
            output_type=f".{PACKAGE}.{method}Response",
        )
    return file


POOL: Final = descriptor_pool.DescriptorPool()
"""Of this service alone: a client library in the same process may know the same names."""
POOL.AddSerializedFile(_file().SerializeToString())


def message_class(name: str) -> Any:
    """The class of a message, such as `ModelInferRequest`."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
