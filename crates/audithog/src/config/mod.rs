//! Settings: environment over code over default, all problems reported together.

mod settings;

pub(crate) use settings::{
    Compression, Database, DistinctId, IpDetail, PosthogSettings, QueueSettings, RetrySettings,
    SampleRule, Secret, Settings, StatusMatch,
};
