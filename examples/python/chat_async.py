"""Streams a chat answer from an edge-agent, with asyncio."""

import asyncio
import sys

from tandem_client import credentials, describe, figures, generation_pb2_grpc, grpc, metadata, options, request


async def main() -> int:
    given = options(__doc__)
    tls = credentials(given)
    channel = grpc.aio.secure_channel(given.edge, tls) if tls else grpc.aio.insecure_channel(given.edge)
    async with channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        # The timeout travels with the call: the edge stops computing when it passes.
        answer = stub.Chat(request(given), timeout=given.timeout, metadata=metadata(given))
        try:
            # Cancelling the task that reads an answer cancels the answer.
            async for response in answer:
                if response.HasField("delta"):
                    print(response.delta.text, end="", flush=True)
                elif response.HasField("finished"):
                    print()
                    print(figures(response.finished), file=sys.stderr)
            return 0
        except grpc.RpcError as error:
            print(f"\n{describe(error)}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        # asyncio.run has cancelled main's task by then.
        print("\ncancelled", file=sys.stderr)
        sys.exit(130)
