"""The sync stack: the same plans as the aio stack's, on gRPC's sync channels and plain threads.

No call goes through an event loop: a blocking call steps its plan on the caller's own thread, a
``future()`` on whichever thread brings the news. Policies know no threads, so each service has a
lock, and a plan is stepped only by who holds it.

Locks, in the order in which they are taken: a service's (``SyncDiscovery.lock``), then at most one
of gRPC's own, the timers', a stream's requests'. User code runs under none of them.
"""
