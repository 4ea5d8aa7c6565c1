"""A client of the shop: looks round and buys something, every second, and tells how it went."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time

import grpc

import seawall
from services.pb.storefront_pb2 import CheckoutRequest, HomeRequest
from services.pb.storefront_pb2_grpc import StorefrontStub


async def main() -> None:
    async with seawall.connect() as fleet:
        storefront = StorefrontStub(fleet)
        for number in itertools.count():
            order = f"{time.time():.0f}-{number}"
            try:
                page = await storefront.Home(HomeRequest(customer="ada"), timeout=1)
                purchase = CheckoutRequest(order_id=order, sku=page.skus[0], count=1)
                paid = await storefront.Checkout(purchase, timeout=2)
                print(f"bought {page.skus[0]} for {paid.cents / 100:.2f}", flush=True)
            except grpc.RpcError as error:
                print(f"order {order}: {error}", flush=True)
            await asyncio.sleep(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
