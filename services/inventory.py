"""What is in stock. Reads are free to be repeated, and so are reservations: they have a key."""

from __future__ import annotations

from seawall import Service
from services import store
from services.chaos import Chaos, Context
from services.pb.inventory_pb2 import GetStockRequest, Reservation, ReserveRequest, Stock
from services.pb.inventory_pb2_grpc import InventoryServicer


class Inventory(Chaos, Service, InventoryServicer):
    async def GetStock(self, request: GetStockRequest, context: Context) -> Stock:
        await self.work(context, 0.003)
        return Stock(sku=request.sku, available=100)

    async def Reserve(self, request: ReserveRequest, context: Context) -> Reservation:
        await self.work(context, 0.005)
        store.append("reservations", f"{request.order_id} {request.sku} {request.count}")
        return Reservation(order_id=request.order_id)


if __name__ == "__main__":
    Inventory.run()
