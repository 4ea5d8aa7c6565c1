"""What somebody may like. Nice to have: the shop sells without it."""

from __future__ import annotations

import zlib

from seawall import Service
from services.chaos import Chaos, Context
from services.pb.recommendations_pb2 import Picks, RecommendRequest
from services.pb.recommendations_pb2_grpc import RecommendationsServicer

SHELF = ("anchor", "beacon", "buoy", "chart", "compass", "lantern", "oilskin", "rope", "sextant")


class Recommendations(Chaos, Service, RecommendationsServicer):
    async def Recommend(self, request: RecommendRequest, context: Context) -> Picks:
        await self.work(context, 0.004)
        first = zlib.crc32(request.customer.encode()) % len(SHELF)
        return Picks(skus=(SHELF * 2)[first : first + 3], personal=True)


if __name__ == "__main__":
    Recommendations.run()
