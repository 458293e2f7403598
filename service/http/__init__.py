"""HTTP: routes, the shapes of requests and answers, the page, and the guard at the edge."""
