"""The page of ``shapestore serve``, and the application around it: what a browser may see of a store, and who may.

    app              the routes: the page, the API, what is stored, one stored shape by its handle
    guard            refuses requests for another host's name
    live_requests    which clients wait for which shape
    page.html, page.css, page.js, follow.js    static; the page shows rows through the same API as any client

Invariants: nothing is loaded from elsewhere, and the page's policy forbids it. Data becomes text, never markup: the
policy makes the browser refuse the other. Only shapes of the tables that are served are listed, or readable.
"""
