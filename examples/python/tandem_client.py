"""What chat.py, chat_async.py and tools.py share: options, credentials, the request, and how an error reads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    import grpc
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status
except ImportError as missing:
    sys.exit(
        f"{missing}. The libraries that this client stands on are installed with\n"
        f"    {sys.executable} -m pip install --require-hashes -r {Path(__file__).with_name('requirements.txt')}"
    )

# Generated modules import each other from the top: from tandem.v1 import model_pb2.
sys.path.insert(0, str(Path(__file__).parent / "generated"))
try:
    from tandem.v1 import generation_pb2, generation_pb2_grpc, sampling_pb2
except ImportError as missing:
    sys.exit(
        f"{missing}. The protocol's stubs are generated, with these commands:\n"
        f"    cd {Path(__file__).parent}\n"
        "    mkdir -p generated\n"
        f"    {sys.executable} -m grpc_tools.protoc -I ../../proto --python_out=generated "
        "--grpc_python_out=generated \\\n"
        "        tandem/v1/generation.proto tandem/v1/model.proto tandem/v1/sampling.proto"
    )

__all__ = [
    "credentials",
    "describe",
    "figures",
    "generation_pb2",
    "generation_pb2_grpc",
    "grpc",
    "metadata",
    "options",
    "request",
    "sampling_pb2",
]


def options(description: str, **flags: str) -> argparse.Namespace:
    """The command line of all of them, with flags of their own and what these say."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("prompt")
    parser.add_argument("--edge", default="127.0.0.1:50050", help="HOST:PORT (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, help="the most tokens of the answer")
    parser.add_argument("--temperature", type=float, help="0 is greedy; without it the model's own")
    parser.add_argument("--top-p", type=float, help="keep the most likely tokens up to this probability")
    parser.add_argument(
        "--timeout", type=float, default=120, help="seconds the whole answer may take (default: %(default)s)"
    )
    parser.add_argument("--json-schema", type=Path, help="a file with the JSON schema of the answer")
    parser.add_argument("--ca", type=Path, help="use TLS, and trust servers of this PEM file's authorities")
    parser.add_argument("--cert", type=Path, help="with --ca and --key: the client's own certificate, PEM")
    parser.add_argument("--key", type=Path, help="its private key, PEM")
    parser.add_argument("--token-file", type=Path, help="a file with the token to show an edge that asks for one")
    for name, meaning in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    given = parser.parse_args()
    if (given.cert is None) != (given.key is None) or (given.cert and not given.ca):
        parser.error("--cert and --key belong together, and to --ca")
    return given


def credentials(given: argparse.Namespace) -> grpc.ChannelCredentials | None:
    """TLS as the options say; None for plain text."""
    if given.ca is None:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=given.ca.read_bytes(),
        private_key=given.key and given.key.read_bytes(),
        certificate_chain=given.cert and given.cert.read_bytes(),
    )


def metadata(given: argparse.Namespace) -> list[tuple[str, str]]:
    """What goes along with a call: the token, where the edge asks for one."""
    if given.token_file is None:
        return []
    return [("authorization", f"Bearer {given.token_file.read_text().strip()}")]


def request(given: argparse.Namespace) -> generation_pb2.ChatRequest:
    """A conversation of one message. For the next turn, send all messages so far."""
    constraint = None
    if given.json_schema:
        # The answer is nothing but such JSON. The model knows of it only what the prompt says.
        constraint = sampling_pb2.Constraint(json_schema=given.json_schema.read_text())
    return generation_pb2.ChatRequest(
        messages=[generation_pb2.ChatMessage(role="user", content=given.prompt)],
        # None leaves an optional field absent, so the server's default holds.
        sampling=sampling_pb2.SamplingParameters(temperature=given.temperature, top_p=given.top_p),
        max_tokens=given.max_tokens,
        constraint=constraint,
    )


def figures(finished: generation_pb2.Finished) -> str:
    """One line about an answer that has ended."""
    reason = sampling_pb2.FinishReason.Name(finished.finish_reason)
    return f"{finished.completion_tokens} tokens, {finished.timings.tokens_per_second:.1f} a second, {reason}"


def describe(error: grpc.RpcError) -> str:
    """A status with what its google.rpc details say: reason, fields, when to try again."""
    lines = [f"{error.code().name}: {error.details()}"]
    # None when gRPC itself made the status, as for a server that cannot be reached.
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # grpc.aio may leave the message percent-encoded, which is then not that of the details.
        status = None
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            lines.append(f"  reason: {info.reason}")
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            lines += [f"  field {v.field}: {v.description}" for v in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            lines.append(f"  retry after: {retry.retry_delay.ToTimedelta().total_seconds():g} s")
    return "\n".join(lines)
