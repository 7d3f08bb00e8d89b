"""How visits are shared out: channels, devices, referrers, pages and lengths, as data."""

from __future__ import annotations

from typing import Final

TRACKED: Final = 0.95
"""Share of the orders whose visit is known: others block or refuse tracking; our estimate."""
BUYING: Final = (0.36, 0.30, 0.06, 0.16, 0.12)
LOOKING: Final = (0.28, 0.27, 0.14, 0.11, 0.20)
SIGNING_UP: Final = (0.13, 0.28, 0.20, 0.05, 0.34)
"""Shares of `CHANNELS` among visits that end with an order, that do not, and with a sign-up. Email
converts best and social media worst, as Screen Pages found in 4.2 million visits (Q2 2016: email
3.70, direct 2.66, search 2.45, referrals 1.79 %); customers are won by advertising and buy by going
straight to the shop: what attribution has to find."""
MOBILE_HABITS: Final = ((0.97, 0.60), (0.25, 0.20), (0.60, 0.20))
"""(Share of visits by telephone, share of customers): 75 % in all, as 75.3 % of the value of Korean
online sales in 2024 (Statistics Korea)."""
TABLETS: Final = 0.1
"""Of the visits that are not by telephone."""
REFERRERS: Final = {
    "SEARCH": ("search.example", "portal.example"),
    "SOCIAL": ("photos.example", "videos.example", "chat.example"),
    "EMAIL": ("newsletter", "app-push"),
    "AD": ("shopping-ads", "banner-ads", "retargeting"),
}
"""Channel -> where its visits come from; one has twice the share of the next."""
LANDING: Final = {
    "DIRECT": (("HOME", 0.65), ("ORDERS", 0.15), ("CATEGORY", 0.20)),
    "SEARCH": (("PRODUCT", 0.60), ("CATEGORY", 0.30), ("HOME", 0.10)),
    "SOCIAL": (("PRODUCT", 0.70), ("HOME", 0.30)),
    "EMAIL": (("PRODUCT", 0.50), ("CATEGORY", 0.30), ("HOME", 0.20)),
    "AD": (("PRODUCT", 0.75), ("CATEGORY", 0.25)),
}
"""The first page of a visit, by channel; our estimate."""
BROWSING: Final = (("PRODUCT", 0.52), ("CATEGORY", 0.25), ("SEARCH", 0.17), ("ORDERS", 0.06))
"""The pages between the first one and the end; our estimate."""
BOUNCES: Final = 0.54
"""Share of the looking visits with one view; 47.6 % of all visits in Screen Pages (Q2 2016)."""
TO_BASKET: Final = 0.22
"""Share of the looking visits that reach the basket: 70 % of baskets are left (Baymard: 70.2 %)."""
TO_CHECKOUT: Final = 0.08
"""Of these visits, those that leave at the checkout."""
MORE_VIEWS: Final = {"buying": 3.9, "looking": 2.1, "signing_up": 1.5}
"""Mean of the exponential number of views above the least; a visit has at most 16."""
RETURNS: Final = ((0.60, 0.3), (0.80, 0.4), (0.95, 0.3))
"""(Chance of each of ten visits after an order, share of customers): some look more than others."""
NEW_RETURNS: Final = 0.5
"""Chance of each of the four visits after a sign-up."""
OWN_PRODUCT: Final = 0.2
"""Share of product pages that show what the customer bought before; our estimate."""
DWELL_S: Final = (24.0, 1.0)
"""Median and log-sd of the seconds on a page; our estimate."""
SHORTEST_S: Final = 2.0
LONGEST_S: Final = 600.0
"""Of a page: a visit has no gap of 30 minutes, by which analysts separate visits."""
