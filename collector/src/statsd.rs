//! StatsD: samples are added up in memory and written as delta points at every flush. Samples that are not flushed yet are not
//! acknowledged data: nobody was promised them, and a crash loses at most one interval. Lines are those of Etsy's StatsD, with
//! tags as Datadog (`|#key:value`) and InfluxDB (`name,key=value`) write them.

pub(crate) mod aggregate;
mod export;
pub(crate) mod line;
