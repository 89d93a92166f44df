"""Where the runtime listens: addresses of this machine only, checked before anything heavy is loaded."""

import zmq

from eddyline import addresses
from eddyline.errors import BindError, EndpointError, KeysNeededError


def check_endpoint(endpoint: str) -> str:
    """Return `endpoint`, `tcp://HOST:PORT` on this machine; port 0 means a free one.

    Raises:
        EndpointError: it is no such address.
        KeysNeededError: it can be reached from other machines.
    """
    address = addresses.parse(endpoint)
    if address is None:
        raise EndpointError(
            f"{endpoint!r} is not an address to listen on; use tcp://127.0.0.1:7860, or port 0 for a free one"
        )
    if not addresses.is_this_machine(address[0]):
        raise KeysNeededError(
            f"{endpoint} can be reached from other machines and this runtime has no keys to protect it; "
            "use tcp://127.0.0.1:PORT, and an SSH tunnel to play from elsewhere"
        )
    return endpoint


def check_free(endpoint: str) -> None:
    """See whether an address can be listened on, before a model is loaded for it.

    Raises:
        BindError: it is taken or not there.
    """
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    try:
        bind(router, endpoint)
    finally:
        router.close(linger=0)
        context.term()


def bind(router: "zmq.Socket[bytes]", endpoint: str) -> str:
    """Listen; returns the endpoint with its real port.

    Raises:
        BindError: the address is taken or not there.
    """
    router.setsockopt(zmq.IPV6, int("[" in endpoint))
    try:
        router.bind(endpoint)
    except zmq.ZMQError as error:
        raise BindError(
            f"cannot listen on {endpoint}: {error.strerror}; "
            "stop what listens there, or choose another port (0 takes a free one)"
        ) from error
    return router.getsockopt_string(zmq.LAST_ENDPOINT)
