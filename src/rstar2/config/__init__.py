"""Every knob of a run, with unit, default and source; TOML files plus dotted overrides.

Each section is consumed by one module, which gets its section and never the whole. Unknown keys are
errors. Rules that span fields are checked here, at load, so that nothing is half-written before a
mistake is found. Numbers marked (paper) are from arXiv:2508.20722, (release) from its public code.
"""

from rstar2.config.learning import (
    AttemptMixture,
    ExitRule,
    LearnerSection,
    ModelSection,
    PretrainingSection,
    RocSection,
    SftSection,
    StageSection,
    TinyModel,
)
from rstar2.config.loading import (
    apply_overrides,
    dump_config,
    load_config,
    load_section,
    parse_config,
    parse_section,
)
from rstar2.config.planning import ClusterSection, PlanSection
from rstar2.config.playing import EngineSection, McpSection, SandboxSection, ToolsSection
from rstar2.config.preparing import (
    BenchmarksSection,
    ConversationSource,
    LabelCheckSection,
    PreparationConfig,
    ProblemSource,
    RewritingSection,
    ServedModelSection,
    SourceSection,
)
from rstar2.config.run import EvaluationSection, HeldOut, RunConfig, RunSection
from rstar2.config.section import Section
from rstar2.config.task import FieldMap, ProblemsSection, ProtocolSection
from rstar2.config.tracking import TrackingSection

__all__ = [
    "AttemptMixture",
    "BenchmarksSection",
    "ClusterSection",
    "ConversationSource",
    "EngineSection",
    "EvaluationSection",
    "ExitRule",
    "FieldMap",
    "HeldOut",
    "LabelCheckSection",
    "LearnerSection",
    "McpSection",
    "ModelSection",
    "PlanSection",
    "PreparationConfig",
    "PretrainingSection",
    "ProblemSource",
    "ProblemsSection",
    "ProtocolSection",
    "RewritingSection",
    "RocSection",
    "RunConfig",
    "RunSection",
    "SandboxSection",
    "Section",
    "ServedModelSection",
    "SftSection",
    "SourceSection",
    "StageSection",
    "TinyModel",
    "ToolsSection",
    "TrackingSection",
    "apply_overrides",
    "dump_config",
    "load_config",
    "load_section",
    "parse_config",
    "parse_section",
]
