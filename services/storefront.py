"""The shop's front door: the home page, and the till."""

from __future__ import annotations

import seawall
from seawall import Service, client
from services.chaos import Chaos, Context
from services.pb.orders_pb2 import PlaceOrderRequest
from services.pb.orders_pb2_grpc import OrdersStub
from services.pb.recommendations_pb2 import Picks, RecommendRequest
from services.pb.recommendations_pb2_grpc import RecommendationsStub
from services.pb.storefront_pb2 import CheckoutRequest, Confirmation, HomePage, HomeRequest
from services.pb.storefront_pb2_grpc import StorefrontServicer
from services.plain import chosen

BEST_SELLERS = Picks(skus=["rope", "lantern", "compass"], personal=False)


class Storefront(Chaos, Service, StorefrontServicer):
    orders = client(OrdersStub)
    recommendations = client(RecommendationsStub)

    async def Home(self, request: HomeRequest, context: Context) -> HomePage:
        recommendations = chosen(context, self.recommendations)
        await self.work(context, 0.002)
        with seawall.options(fallback=BEST_SELLERS):
            picks = await recommendations.Recommend(
                RecommendRequest(customer=request.customer), timeout=0.9
            )
        return HomePage(skus=picks.skus, personal=picks.personal)

    async def Checkout(self, request: CheckoutRequest, context: Context) -> Confirmation:
        orders = chosen(context, self.orders)
        await self.work(context, 0.002)
        order = await orders.PlaceOrder(
            PlaceOrderRequest(order_id=request.order_id, sku=request.sku, count=request.count),
            timeout=2.5,
        )
        return Confirmation(order_id=order.order_id, cents=order.cents)


if __name__ == "__main__":
    Storefront.run()
