"""Lets the model call a function: what it calls is run here, and it goes on from the result."""

import json
import sys

from tandem_client import (
    credentials,
    describe,
    figures,
    generation_pb2,
    generation_pb2_grpc,
    grpc,
    metadata,
    options,
    request,
    sampling_pb2,
)

# The model may call the function so often before it answers.
ROUNDS = 4

COUNT = generation_pb2.Tool(
    name="count_letter",
    description="Says how often a letter is in a word.",
    parameters=json.dumps(
        {
            "type": "object",
            "properties": {
                "word": {"type": "string", "maxLength": 40},
                "letter": {"type": "string", "minLength": 1, "maxLength": 1},
            },
            "required": ["word", "letter"],
            "additionalProperties": False,
        }
    ),
    # The arguments are held to the schema: they need no check here.
    strict=True,
)


def run(call: generation_pb2.ToolCall) -> str:
    """The result of a call, for the model."""
    given = json.loads(call.arguments)
    return str(given["word"].lower().count(given["letter"].lower()))


def main() -> int:
    given = options(__doc__, require="the model calls the function before it answers")
    tls = credentials(given)
    channel = grpc.secure_channel(given.edge, tls) if tls else grpc.insecure_channel(given.edge)
    with channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        asked = request(given)
        asked.tools.append(COUNT)
        asked.one_tool_call = True
        if given.require:
            asked.tool_mode = generation_pb2.TOOL_MODE_REQUIRED
        try:
            for _ in range(ROUNDS):
                said, calls, reason = "", [], None
                for response in stub.Chat(asked, timeout=given.timeout, metadata=metadata(given)):
                    if response.HasField("delta"):
                        print(response.delta.text, end="", flush=True)
                        said += response.delta.text
                        calls += response.delta.tool_calls
                    elif response.HasField("finished"):
                        reason = response.finished.finish_reason
                        print(figures(response.finished), file=sys.stderr)
                if calls and reason == sampling_pb2.FINISH_REASON_LENGTH:
                    # What is left of its arguments is no JSON.
                    print("\nthe answer ended in the middle of a call", file=sys.stderr)
                    return 1
                if not calls:
                    print()
                    return 0
                # What it called and what came of it are part of the conversation.
                asked.messages.add(role="assistant", content=said, tool_calls=calls)
                for call in calls:
                    result = run(call)
                    print(f"{call.name}({call.arguments}) = {result}", file=sys.stderr)
                    asked.messages.add(role="tool", content=result, tool_call_id=call.id)
                asked.tool_mode = generation_pb2.TOOL_MODE_UNSPECIFIED
            print("\nit only calls and does not answer", file=sys.stderr)
            return 1
        except grpc.RpcError as error:
            print(f"\n{describe(error)}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
