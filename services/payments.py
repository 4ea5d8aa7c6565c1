"""Moves money. The one service that nobody may call twice to be on the safe side."""

from __future__ import annotations

from seawall import Service
from services import store
from services.chaos import Chaos, Context
from services.pb.payments_pb2 import ChargeRequest, Receipt
from services.pb.payments_pb2_grpc import PaymentsServicer


class Payments(Chaos, Service, PaymentsServicer):
    async def Charge(self, request: ChargeRequest, context: Context) -> Receipt:
        # The money moves here; who dies while the bank confirms has taken it and can't say so.
        store.append(store.CHARGES, f"{request.order_id} {request.cents} {store.WRITER}")
        await self.work(context, 0.040)
        return Receipt(order_id=request.order_id, cents=request.cents)


if __name__ == "__main__":
    Payments.run()
