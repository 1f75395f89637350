"""From problems to graded groups: placement, dispatch, the agent loop, collection."""
