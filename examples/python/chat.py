"""Streams a chat answer from an edge-agent."""

import sys

from tandem_client import credentials, describe, figures, generation_pb2_grpc, grpc, metadata, options, request


def main() -> int:
    given = options(__doc__)
    tls = credentials(given)
    channel = grpc.secure_channel(given.edge, tls) if tls else grpc.insecure_channel(given.edge)
    with channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        # The timeout travels with the call: the edge stops computing when it passes.
        answer = stub.Chat(request(given), timeout=given.timeout, metadata=metadata(given))
        try:
            for response in answer:
                if response.HasField("delta"):
                    print(response.delta.text, end="", flush=True)
                elif response.HasField("finished"):
                    print()
                    print(figures(response.finished), file=sys.stderr)
            return 0
        except KeyboardInterrupt:
            # Frees the answer's session on edge and cloud. To stop reading is not enough.
            answer.cancel()
            print("\ncancelled", file=sys.stderr)
            return 130
        except grpc.RpcError as error:
            print(f"\n{describe(error)}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
