"""Takes orders: asks inventory to put the items aside, then payments for the money."""

from __future__ import annotations

from seawall import Service, client
from services.chaos import Chaos, Context
from services.pb.inventory_pb2 import GetStockRequest, ReserveRequest
from services.pb.inventory_pb2_grpc import InventoryStub
from services.pb.orders_pb2 import Order, PlaceOrderRequest, Price, QuoteRequest
from services.pb.orders_pb2_grpc import OrdersServicer
from services.pb.payments_pb2 import ChargeRequest
from services.pb.payments_pb2_grpc import PaymentsStub
from services.plain import chosen

CENTS_EACH = 1999


class Orders(Chaos, Service, OrdersServicer):
    inventory = client(InventoryStub)
    payments = client(PaymentsStub)

    async def PlaceOrder(self, request: PlaceOrderRequest, context: Context) -> Order:
        inventory, payments = chosen(context, self.inventory), chosen(context, self.payments)
        await self.work(context, 0.002)
        await inventory.Reserve(
            ReserveRequest(order_id=request.order_id, sku=request.sku, count=request.count),
            timeout=0.9,
        )
        cents = request.count * CENTS_EACH
        await payments.Charge(ChargeRequest(order_id=request.order_id, cents=cents), timeout=1.2)
        return Order(order_id=request.order_id, cents=cents)

    async def Quote(self, request: QuoteRequest, context: Context) -> Price:
        inventory = chosen(context, self.inventory)
        await self.work(context, 0.002)
        stock = await inventory.GetStock(GetStockRequest(sku=request.sku), timeout=0.9)
        return Price(cents=request.count * CENTS_EACH, available=stock.available >= request.count)


if __name__ == "__main__":
    Orders.run()
