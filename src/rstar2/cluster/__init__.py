"""The parts of a run as processes of a Ray cluster: where they are placed, and what happens when one dies.

layout          what a run books: one block per kind of part, one bundle per process (pure)
runtime         a cluster for the length of a run: joined, or started on this machine
actors          Ray's actors and placement groups in our words; the one place where processes are started
remote          an object in another process, as whoever calls it sees it
supervision     how often something that dies is started again, and how soon (pure)
keeper          one remote object: started, watched, started again
fleet           which engines are up: what each must know of the others
engine          `ActorEngine`, an `Engine` whose process may die;  engine_actor is what lives in it
learner         `RayCrew`, the learner's ranks: they end together
sandbox         sandbox servers that come and go behind one `ClusterSandbox`;  sandbox_actor keeps one of them

Only runtime, actors, learner and sandbox_actor import Ray; a run without a cluster imports none of them.
"""
