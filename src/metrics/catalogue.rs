//! The table: one row for each statistic that any release of the Jitsi Videobridge ever sent.
//!
//! A bridge serves its statistics in two places: as the JSON of `/colibri/stats`, and since 2022 as its own metrics at `/metrics`, which
//! it also sends as JSON. Most statistics are in both places, under two keys. A row lists both keys, so the exporter can read either.
//!
//! This module knows keys, names, kinds, units and help texts. It knows nothing about JSON or text formats. To add a statistic, add a row
//! and a fixture; `make generate` writes the rest.
//!
//! The rows were collected from the history of the bridge's sources, from build 205 (August 2014) to 2.3-312 (August 2026), and compared
//! with running bridges with live calls.

use std::cmp::Ordering;
use std::iter;
use std::sync::LazyLock;

/// The names to expose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// Standard names: base units, counters end in `_total`.
    #[default]
    Standard,
    /// Legacy names: `jitsi_<key>` with the value as the bridge sends it, as in the older exporters.
    Legacy,
}

/// The kind of a statistic. It decides how the statistic is exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that can go up and down.
    Gauge,
    /// A number that only grows until the bridge restarts. Negative and NaN values are not exposed: OpenMetrics forbids both.
    Counter,
    /// `true` or `false`, exposed as a gauge of 1 or 0.
    Boolean,
    /// A wall-clock time as text, exposed as a gauge in Unix time.
    Timestamp,
    /// A string, exposed as a label of a gauge of 1 that all rows of one name share. OpenMetrics' type `info` is not used, because some
    /// readers rename or drop such metrics (docs/scrapers.md).
    Info,
    /// A distribution of things that exist now, exposed as a gauge histogram.
    GaugeHistogram,
    /// A distribution that accumulates since the bridge started, exposed as a histogram.
    Histogram,
}

impl Kind {
    /// The type, as people call it.
    #[must_use]
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Gauge | Self::Boolean | Self::Timestamp | Self::Info => "gauge",
            Self::Counter => "counter",
            Self::GaugeHistogram => "gauge histogram",
            Self::Histogram => "histogram",
        }
    }

    /// The kind under the legacy name. There, a gauge histogram is one gauge for each size.
    const fn in_legacy_names(self) -> Self {
        match self {
            Self::GaugeHistogram => Self::Gauge,
            kind => kind,
        }
    }

    /// The suffix that in OpenMetrics belongs to the name of the sample and not to the name of the family.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            _ => "",
        }
    }

    /// Whether its values are distributions.
    #[must_use]
    pub const fn is_distribution(self) -> bool {
        matches!(self, Self::GaugeHistogram | Self::Histogram)
    }

    /// Whether its values are numbers or booleans.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Gauge | Self::Counter | Self::Boolean)
    }

    /// The suffixes of the samples' names after the name of the family.
    #[must_use]
    pub const fn sample_suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Gauge | Self::Boolean | Self::Timestamp | Self::Info => &[""],
            Self::Counter => &["_total"],
            Self::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            Self::Histogram => &["_bucket", "_sum", "_count"],
        }
    }

    /// The suffixes of all names that belong to the family in either format, whether or not there is such a sample.
    #[must_use]
    pub const fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Gauge | Self::Boolean | Self::Timestamp | Self::Info => &[""],
            Self::Counter => &["", "_total", "_created"],
            Self::GaugeHistogram => &["", "_bucket", "_gcount", "_gsum", "_count", "_sum"],
            Self::Histogram => &["", "_bucket", "_sum", "_count", "_created"],
        }
    }
}

/// Defines [`Unit`], and `in_help!` with the word for a unit in help texts, from one line for each unit.
macro_rules! units {
    ($($(#[$doc:meta])* $unit:ident = $times:literal / $over:literal of $base:expr, $word:literal;)*) => {
        /// The unit in which the bridge sends a number. A unit that is not a base unit of Prometheus is converted, and named in the
        /// help text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Unit {
            $($(#[$doc])* $unit,)*
        }

        impl Unit {
            /// The base unit in which the value is exposed: the suffix of the name, and the content of `# UNIT`.
            #[must_use]
            pub const fn base(self) -> Option<&'static str> {
                match self {
                    $(Self::$unit => $base,)*
                }
            }

            /// The size of this unit in base units, as a fraction: numerator and denominator.
            #[must_use]
            pub const fn ratio(self) -> (u32, u32) {
                match self {
                    $(Self::$unit => ($times, $over),)*
                }
            }

            /// What the help text says after the key: a comma and the unit, if the value is converted.
            #[must_use]
            pub const fn in_help(self) -> &'static str {
                match self {
                    $(Self::$unit => $word,)*
                }
            }
        }

        /// [`Unit::in_help`] as a literal.
        macro_rules! in_help {
            $(($unit) => { $word };)*
        }
    };
}

units! {
    /// A count, a ratio, or anything else without a unit.
    Plain = 1 / 1 of None, "";
    /// Seconds.
    Seconds = 1 / 1 of Some("seconds"), "";
    /// Milliseconds.
    Milliseconds = 1 / 1000 of Some("seconds"), ", milliseconds";
    /// `yyyy-MM-dd HH:mm:ss.SSS` in UTC, exposed in seconds since 1970.
    DateTime = 1 / 1 of Some("seconds"), ", yyyy-MM-dd HH:mm:ss.SSS";
    /// Bytes.
    Bytes = 1 / 1 of Some("bytes"), "";
    /// Megabytes of 10^6 bytes.
    Megabytes = 1_000_000 / 1 of Some("bytes"), ", megabytes";
    /// Kilobits (1000 bits) per second.
    KilobitsPerSecond = 125 / 1 of Some("bytes_per_second"), ", kilobits per second";
    /// Bits per second. (Releases before 2.1-158 sent the two octo rates in kilobits.)
    BitsPerSecond = 1 / 8 of Some("bytes_per_second"), ", bits per second";
    /// Packets per second.
    PacketsPerSecond = 1 / 1 of Some("packets_per_second"), "";
}

/// Describes a metric: name, kind, unit and help text.
#[derive(Debug)]
pub struct Descriptor {
    /// The name of the sample as Prometheus stores it, [`Kind::suffix`] included. Samples of distributions have more suffixes.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The base unit, with which the name of the family ends.
    pub unit: Option<&'static str>,
    /// One sentence that needs no escaping.
    pub help: &'static str,
}

impl Descriptor {
    /// The name of the family in OpenMetrics: the name without [`Kind::suffix`]. A legacy name may lack the suffix.
    #[must_use]
    pub fn family_name(&self) -> &'static str {
        self.name.strip_suffix(self.kind.suffix()).unwrap_or(self.name)
    }

    /// Whether this is a counter whose name has the suffix that OpenMetrics requires.
    #[must_use]
    pub fn has_suffix(&self) -> bool {
        self.name.ends_with(self.kind.suffix())
    }
}

/// Makes a descriptor.
const fn descriptor(name: &'static str, kind: Kind, unit: Option<&'static str>, help: &'static str) -> Descriptor {
    Descriptor { name, kind, unit, help }
}

/// A source of a statistic.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The key in the JSON.
    pub key: &'static str,
    /// The unit in which the value is sent under this key.
    pub unit: Unit,
}

/// One statistic.
#[derive(Debug)]
pub struct Row {
    /// The key in `/colibri/stats`.
    pub stats: Option<Source>,
    /// The key in the bridge's own `/metrics`.
    pub native: Option<Source>,
    /// What it is.
    pub kind: Kind,
    /// The standard name. The help is one sentence that ends with the keys and, if the value is converted, the bridge's unit.
    pub standard: Descriptor,
    /// The legacy name: `jitsi_` and the key, as in the older exporters.
    pub legacy: Descriptor,
}

impl Row {
    /// The sources, in order of preference.
    pub fn sources(&self) -> impl Iterator<Item = Source> {
        self.stats
            .into_iter()
            .chain(self.native.filter(|native| self.stats.is_none_or(|stats| stats.key != native.key)))
    }

    /// The source whose key and unit are used for the legacy name: `/colibri/stats`, which the older exporters read, if it contains the
    /// statistic.
    ///
    /// # Panics
    ///
    /// Never: each row has a source.
    #[must_use]
    pub fn primary(&self) -> Source {
        self.sources().next().expect("each row has a source")
    }
}

/// The legacy name made from a key, or the standard name if the legacy name would look like the exporter's own.
const fn legacy_name(of_key: &'static str, standard: &'static str) -> &'static str {
    match of_key.as_bytes() {
        [b'j', b'i', b't', b's', b'i', b'_', b'e', b'x', b'p', b'o', b'r', b't', b'e', b'r', b'_', ..] => standard,
        _ => of_key,
    }
}

/// One line of the table. The help text is completed here with keys and units, so that a search for the bridge's own name finds
/// the metric. A key is a string, `none` if the statistic is not in that place, or `same` if it has the same key in both. One unit applies
/// to both keys; two units apply to one key each.
macro_rules! row {
    ($stats:tt, $native:tt, $name:literal, Info, Plain, $help:literal) => {
        Row {
            stats: row!(@source $stats, Plain),
            native: row!(@native $stats, $native, Plain),
            kind: Kind::Info,
            standard: descriptor($name, Kind::Info, None, BRIDGE_INFO_HELP),
            legacy: descriptor(
                concat!("jitsi_", row!(@primary $stats, $native), "_info"),
                Kind::Info,
                None,
                concat!($help, " (", row!(@keys $stats, $native, Plain), ").")
            ),
        }
    };
    ($stats:tt, $native:tt, $name:literal, $kind:ident, $unit:ident, $help:literal) => {
        row!(@row $stats, $native, $name, $kind, $unit, $unit, concat!($help, " (", row!(@keys $stats, $native, $unit), ")."))
    };
    ($stats:tt, $native:tt, $name:literal, $kind:ident, $unit:ident / $other:ident, $help:literal) => {
        row!(
            @row $stats, $native, $name, $kind, $unit, $other,
            concat!($help, " (", row!(@keys $stats, none, $unit), ", or ", row!(@keys none, $native, $other), ").")
        )
    };
    (@row $stats:tt, $native:tt, $name:literal, $kind:ident, $unit:ident, $other:ident, $help:expr) => {
        Row {
            stats: row!(@source $stats, $unit),
            native: row!(@native $stats, $native, $other),
            kind: Kind::$kind,
            standard: descriptor($name, Kind::$kind, Unit::$unit.base(), $help),
            legacy: descriptor(
                legacy_name(concat!("jitsi_", row!(@primary $stats, $native)), $name),
                Kind::$kind.in_legacy_names(),
                None,
                $help
            ),
        }
    };
    (@source none, $unit:ident) => { None };
    (@source $key:literal, $unit:ident) => { Some(Source { key: $key, unit: Unit::$unit }) };
    (@native $stats:tt, same, $unit:ident) => { row!(@source $stats, $unit) };
    (@native $stats:tt, $native:tt, $unit:ident) => { row!(@source $native, $unit) };
    (@primary none, $native:literal) => { $native };
    (@primary $stats:literal, $native:tt) => { $stats };
    (@keys none, $native:literal, $unit:ident) => { concat!($native, in_help!($unit)) };
    (@keys $stats:literal, $native:literal, $unit:ident) => { concat!($stats, " or ", $native, in_help!($unit)) };
    (@keys $stats:literal, $native:tt, $unit:ident) => { concat!($stats, in_help!($unit)) };
}

/// Every statistic, in the order of exposition. Rows with the same name are neighbours. They are either labels of one info metric, or two
/// keys of one statistic, of which the first wins.
#[rustfmt::skip]
pub static ROWS: &[Row] = &[
    //   key in /colibri/stats                         key in /metrics                                         name in Prometheus                                            kind       unit as sent      help
    // The bridge itself
    row!("version",                                    none,                                                   "jitsi_bridge_info",                                          Info,      Plain,            "Version of the bridge"),
    row!("release",                                    none,                                                   "jitsi_bridge_info",                                          Info,      Plain,            "Release identifier that the operator set in videobridge.version.release"),
    row!("region",                                     same,                                                   "jitsi_bridge_info",                                          Info,      Plain,            "Region in which the bridge is configured to be, used by Jicofo to select bridges"),
    row!("relay_id",                                   none,                                                   "jitsi_bridge_info",                                          Info,      Plain,            "Identifier of the bridge for its links to other bridges, address:port in the octo era"),
    row!("healthy",                                    same,                                                   "jitsi_healthy",                                              Boolean,   Plain,            "Whether the latest internal health check passed"),
    row!("drain",                                      "drain_mode",                                           "jitsi_drain",                                                Boolean,   Plain,            "Whether the bridge is in drain mode: it keeps its conferences, and Jicofo gives it no new ones"),
    row!("graceful_shutdown",                          same,                                                   "jitsi_graceful_shutdown",                                    Boolean,   Plain,            "Whether the bridge is in graceful shutdown: it takes no new conferences and stops when the last one ends"),
    row!("shutting_down",                              same,                                                   "jitsi_shutting_down",                                        Boolean,   Plain,            "Whether the bridge is about to stop, at the end of a graceful shutdown or by force"),
    row!("stress_level",                               "stress",                                               "jitsi_stress_level",                                         Gauge,     Plain,            "Load of the bridge relative to its configured limit: 0 is idle, 1 is fully loaded, above 1 is overloaded"),
    row!("average_participant_stress",                 none,                                                   "jitsi_average_participant_stress",                           Gauge,     Plain,            "Configured estimate of the stress that one more participant adds"),
    row!(none,                                         "startup_time",                                         "jitsi_startup_timestamp_seconds",                            Gauge,     Milliseconds,     "Time at which the bridge was started, in seconds since 1970"),
    row!("current_timestamp",                          none,                                                   "jitsi_report_timestamp_seconds",                             Timestamp, DateTime,         "Time at which the report was produced, in seconds since 1970"),

    // Its process
    row!("threads",                                    "thread_count",                                         "jitsi_threads",                                              Gauge,     Plain,            "Number of live threads in the JVM"),
    row!(none,                                         "jvm_heap_used",                                        "jitsi_jvm_heap_used_bytes",                                  Gauge,     Bytes,            "Heap memory of the JVM in use"),
    row!(none,                                         "jvm_heap_committed",                                   "jitsi_jvm_heap_committed_bytes",                             Gauge,     Bytes,            "Heap memory that the JVM has reserved"),
    row!(none,                                         "jvm_gc_count",                                         "jitsi_jvm_gc_collections_total",                             Counter,   Plain,            "Total number of garbage collections in the JVM"),
    row!(none,                                         "jvm_gc_time",                                          "jitsi_jvm_gc_seconds_total",                                 Counter,   Milliseconds,     "Total time that the JVM spent in garbage collection"),
    row!(none,                                         "jvm_open_fd_count",                                    "jitsi_open_file_descriptors",                                Gauge,     Plain,            "Number of open file descriptors"),
    row!(none,                                         "cpu_steal",                                            "jitsi_cpu_steal",                                            Gauge,     Plain,            "Fraction of CPU time that the hypervisor gave to other guests, from 0 to 1"),

    // Conferences
    row!("conferences",                                same,                                                   "jitsi_conferences",                                          Gauge,     Plain,            "Number of conferences"),
    row!("largest_conference",                         same,                                                   "jitsi_largest_conference",                                   Gauge,     Plain,            "Number of endpoints in the largest conference"),
    row!("inactive_conferences",                       "conferences_inactive",                                 "jitsi_inactive_conferences",                                 Gauge,     Plain,            "Number of conferences in which no endpoint sends audio or video, peer-to-peer ones included"),
    row!("p2p_conferences",                            "conferences_p2p",                                      "jitsi_p2p_conferences",                                      Gauge,     Plain,            "Number of inactive conferences with two endpoints, which presumably talk to each other directly"),
    row!("octo_conferences",                           "conferences_with_relay",                               "jitsi_octo_conferences",                                     Gauge,     Plain,            "Number of conferences that span several bridges"),
    row!("conference_sizes",                           "conferences_by_size",                                  "jitsi_conference_sizes",                                     GaugeHistogram, Plain,       "Distribution of the conferences by number of endpoints, local and relayed"),
    row!("conferences_by_audio_senders",               "conferences_by_audio_sender",                          "jitsi_conferences_by_audio_senders",                         GaugeHistogram, Plain,       "Distribution of the conferences by number of local endpoints that send audio"),
    row!("conferences_by_video_senders",               "conferences_by_video_sender",                          "jitsi_conferences_by_video_senders",                         GaugeHistogram, Plain,       "Distribution of the conferences by number of local endpoints that send video"),
    row!("total_conferences_created",                  "conferences_created_total",                            "jitsi_conferences_created_total",                            Counter,   Plain,            "Total number of conferences created"),
    row!("total_conferences_completed",                "conferences_completed_total",                          "jitsi_conferences_completed_total",                          Counter,   Plain,            "Total number of conferences that have ended"),
    row!("total_conferences",                          none,                                                   "jitsi_conferences_completed_total",                          Counter,   Plain,            "Total number of conferences that have ended, under the key of builds 773 to 780"),
    row!("total_conference_seconds",                   "conference_seconds_total",                             "jitsi_conference_seconds_total",                             Counter,   Seconds,          "Total duration of the conferences that have ended"),
    row!("total_failed_conferences",                   "failed_conferences_total",                             "jitsi_failed_conferences_total",                             Counter,   Plain,            "Total number of ended conferences in which ICE failed for every endpoint"),
    row!("total_partially_failed_conferences",         "partially_failed_conferences_total",                   "jitsi_partially_failed_conferences_total",                   Counter,   Plain,            "Total number of ended conferences in which ICE failed for some endpoints but not for all"),
    row!("total_dominant_speaker_changes",             "dominant_speaker_changes_total",                       "jitsi_dominant_speaker_changes_total",                       Counter,   Plain,            "Total number of changes of the dominant speaker, in all conferences"),

    // Endpoints: the clients in the conferences
    row!("endpoints",                                  "current_endpoints",                                    "jitsi_endpoints",                                            Gauge,     Plain,            "Number of endpoints in all conferences, both local ones and those connected through other bridges"),
    row!("participants",                               "current_endpoints",                                    "jitsi_participants",                                         Gauge,     Plain,            "Number of endpoints in all conferences; deprecated by the bridge in favour of endpoints"),
    row!("local_endpoints",                            same,                                                   "jitsi_local_endpoints",                                      Gauge,     Plain,            "Number of endpoints connected directly to this bridge"),
    row!("octo_endpoints",                             "endpoints_relayed",                                    "jitsi_octo_endpoints",                                       Gauge,     Plain,            "Number of endpoints connected through other bridges"),
    row!("visitors",                                   "current_visitors",                                     "jitsi_visitors",                                             Gauge,     Plain,            "Number of visitor endpoints connected to this bridge"),
    row!("inactive_endpoints",                         "endpoints_inactive",                                   "jitsi_inactive_endpoints",                                   Gauge,     Plain,            "Number of endpoints in inactive conferences"),
    row!("local_active_endpoints",                     "active_endpoints",                                     "jitsi_local_active_endpoints",                               Gauge,     Plain,            "Number of local endpoints in conferences in which at least one endpoint sends audio or video"),
    row!("receive_only_endpoints",                     "endpoints_recvonly",                                   "jitsi_receive_only_endpoints",                               Gauge,     Plain,            "Number of local endpoints in active conferences that send neither audio nor video"),
    row!("endpoints_sending_audio",                    same,                                                   "jitsi_endpoints_sending_audio",                              Gauge,     Plain,            "Number of local endpoints that send audio other than silence"),
    row!("endpoints_sending_video",                    same,                                                   "jitsi_endpoints_sending_video",                              Gauge,     Plain,            "Number of local endpoints that send video"),
    row!("endpoints_with_suspended_sources",           same,                                                   "jitsi_endpoints_with_suspended_sources",                     Gauge,     Plain,            "Number of local endpoints to which some video is not forwarded because of the bandwidth estimate"),
    row!("num_eps_oversending",                        "endpoints_oversending",                                "jitsi_num_eps_oversending",                                  Gauge,     Plain,            "Number of local endpoints to which the bridge sends more than the bandwidth estimate allows"),
    row!("endpoints_with_spurious_remb",               same,                                                   "jitsi_endpoints_with_spurious_remb_total",                   Counter,   Plain,            "Total number of endpoints that sent REMB messages although transport-cc was in use"),
    row!("endpoints_disconnected",                     "endpoints_disconnected_total",                         "jitsi_endpoints_disconnected_total",                         Counter,   Plain,            "Total number of times an endpoint was considered disconnected because nothing arrived from it"),
    row!("endpoints_reconnected",                      "endpoints_reconnected_total",                          "jitsi_endpoints_reconnected_total",                          Counter,   Plain,            "Total number of times an endpoint became active again after it was considered disconnected"),
    row!("total_participants",                         "endpoints_total",                                      "jitsi_participants_created_total",                           Counter,   Plain,            "Total number of endpoints created"),
    row!("total_visitors",                             "visitors_total",                                       "jitsi_visitors_created_total",                               Counter,   Plain,            "Total number of visitor endpoints created"),

    // Connecting: ICE, DTLS, message transport, signalling
    row!("total_ice_succeeded",                        "ice_succeeded_total",                                  "jitsi_ice_succeeded_total",                                  Counter,   Plain,            "Total number of ICE agents that connected"),
    row!("total_ice_succeeded_relayed",                "ice_succeeded_relayed_total",                          "jitsi_ice_succeeded_relayed_total",                          Counter,   Plain,            "Total number of ICE agents that connected through a TURN relay"),
    row!("total_ice_succeeded_tcp",                    "ice_succeeded_tcp_total",                              "jitsi_ice_succeeded_tcp_total",                              Counter,   Plain,            "Total number of ICE agents that connected over TCP"),
    row!("total_ice_failed",                           "ice_failed_total",                                     "jitsi_ice_failed_total",                                     Counter,   Plain,            "Total number of ICE agents that failed to connect"),
    row!("endpoints_ice_failed",                       "endpoints_ice_failed_total",                           "jitsi_endpoints_ice_failed_total",                           Counter,   Plain,            "Total number of endpoints that failed to connect by ICE"),
    row!("relays_ice_failed",                          "relays_ice_failed_total",                              "jitsi_relays_ice_failed_total",                              Counter,   Plain,            "Total number of relays that failed to connect by ICE"),
    row!(none,                                         "ice_restarts_started_total",                           "jitsi_ice_restarts_started_total",                           Counter,   Plain,            "Total number of ICE restarts started"),
    row!(none,                                         "ice_restarts_succeeded_total",                         "jitsi_ice_restarts_succeeded_total",                         Counter,   Plain,            "Total number of ICE restarts that connected and were switched to"),
    row!(none,                                         "ice_restarts_failed_total",                            "jitsi_ice_restarts_failed_total",                            Counter,   Plain,            "Total number of ICE restarts abandoned because the new ICE agent failed to connect"),
    row!(none,                                         "ice_restarts_superseded_total",                        "jitsi_ice_restarts_superseded_total",                        Counter,   Plain,            "Total number of ICE restarts superseded by a newer one before they connected"),
    row!(none,                                         "ice_restarts_rejected_total",                          "jitsi_ice_restarts_rejected_total",                          Counter,   Plain,            "Total number of requests for an ICE restart rejected because the bridge does not support ICE restarts"),
    row!(none,                                         "ice_restarts_not_established_total",                   "jitsi_ice_restarts_not_established_total",                   Counter,   Plain,            "Total number of requests for an ICE restart of a transport that was not yet established"),
    row!(none,                                         "ice_restarts_agent_creation_failed_total",             "jitsi_ice_restarts_agent_creation_failed_total",             Counter,   Plain,            "Total number of ICE restarts that failed because no new ICE agent could be created"),
    row!("dtls_failed_endpoints",                      "endpoints_dtls_failed_total",                          "jitsi_dtls_failed_endpoints_total",                          Counter,   Plain,            "Total number of endpoints that connected by ICE and expired before the DTLS handshake completed"),
    row!("dtls_failed_relays",                         "relays_dtls_failed_total",                             "jitsi_dtls_failed_relays_total",                             Counter,   Plain,            "Total number of relays that connected by ICE and expired before the DTLS handshake completed"),
    row!("num_eps_no_msg_transport_after_delay",       "endpoints_no_message_transport_after_delay_total",     "jitsi_num_eps_no_msg_transport_after_delay_total",           Counter,   Plain,            "Total number of endpoints without a message transport 30 seconds after the check was scheduled"),
    row!("num_relays_no_msg_transport_after_delay",    "relays_no_message_transport_after_delay_total",        "jitsi_num_relays_no_msg_transport_after_delay_total",        Counter,   Plain,            "Total number of relays without a message transport 30 seconds after the check was scheduled"),
    row!("total_colibri_web_socket_messages_received", "colibri_web_socket_messages_received_total",           "jitsi_colibri_web_socket_messages_received_total",           Counter,   Plain,            "Total number of bridge channel messages received over WebSocket"),
    row!("total_colibri_web_socket_messages_sent",     "colibri_web_socket_messages_sent_total",               "jitsi_colibri_web_socket_messages_sent_total",               Counter,   Plain,            "Total number of bridge channel messages sent over WebSocket"),
    row!(none,                                         "colibri_web_socket_close_normal_total",                "jitsi_colibri_web_socket_close_normal_total",                Counter,   Plain,            "Total number of bridge channel WebSockets closed normally"),
    row!(none,                                         "colibri_web_socket_close_abnormal_total",              "jitsi_colibri_web_socket_close_abnormal_total",              Counter,   Plain,            "Total number of bridge channel WebSockets closed abnormally"),
    row!(none,                                         "colibri_web_socket_error_total",                       "jitsi_colibri_web_socket_error_total",                       Counter,   Plain,            "Total number of errors of bridge channel WebSockets"),
    row!("total_data_channel_messages_received",       "data_channel_messages_received_total",                 "jitsi_data_channel_messages_received_total",                 Counter,   Plain,            "Total number of bridge channel messages received over SCTP data channels"),
    row!("total_data_channel_messages_sent",           "data_channel_messages_sent_total",                     "jitsi_data_channel_messages_sent_total",                     Counter,   Plain,            "Total number of bridge channel messages sent over SCTP data channels"),
    row!(none,                                         "rejected_data_channels_total",                         "jitsi_rejected_data_channels_total",                         Counter,   Plain,            "Total number of data channels rejected by the bridge"),
    row!("muc_clients_configured",                     same,                                                   "jitsi_muc_clients_configured",                               Gauge,     Plain,            "Number of XMPP MUC clients configured"),
    row!("muc_clients_connected",                      same,                                                   "jitsi_muc_clients_connected",                                Gauge,     Plain,            "Number of XMPP MUC clients connected"),
    row!("mucs_configured",                            "mucs_connected",                                       "jitsi_mucs_configured",                                      Gauge,     Plain,            "Number of MUC rooms configured to be joined"),
    row!("mucs_joined",                                same,                                                   "jitsi_mucs_joined",                                          Gauge,     Plain,            "Number of configured MUC rooms that are joined"),
    row!(none,                                         "xmpp_disconnects_total",                               "jitsi_xmpp_disconnects_total",                               Counter,   Plain,            "Total number of times an XMPP connection was lost"),

    // Quality
    row!("incoming_loss",                              "incoming_loss_fraction",                               "jitsi_incoming_loss",                                        Gauge,     Plain,            "Fraction of the packets from endpoints to the bridge that were lost, from 0 to 1"),
    row!("outgoing_loss",                              "outgoing_loss_fraction",                               "jitsi_outgoing_loss",                                        Gauge,     Plain,            "Fraction of the packets from the bridge to endpoints that were reported lost, from 0 to 1"),
    row!("overall_loss",                               "loss_fraction",                                        "jitsi_overall_loss",                                         Gauge,     Plain,            "Fraction of the packets that were lost, in both directions together, from 0 to 1"),
    row!("endpoints_with_high_outgoing_loss",          same,                                                   "jitsi_endpoints_with_high_outgoing_loss",                    Gauge,     Plain,            "Number of local endpoints in active conferences that lose over 10 percent of the packets sent to them"),
    row!("rtt_aggregate",                              "average_rtt",                                          "jitsi_rtt_aggregate_seconds",                                Gauge,     Milliseconds,     "Average round-trip time of the local endpoints that have a valid RTCP measurement"),
    row!("tcc_unmatched_feedback",                     same,                                                   "jitsi_tcc_unmatched_feedback",                               Gauge,     Plain,            "Number of transport-cc feedback reports of the current local endpoints that match no sent packet"),
    row!(none,                                         "rtp_transit_time",                                     "jitsi_rtp_transit_time_seconds",                             Histogram, Milliseconds,     "Distribution of the time that RTP packets spent in the bridge"),
    row!(none,                                         "rtp_transit_time_unknown_delay_total",                 "jitsi_rtp_transit_time_unknown_delay_total",                 Counter,   Plain,            "Total number of RTP packets whose time in the bridge is not known"),
    row!(none,                                         "rtcp_transit_time",                                    "jitsi_rtcp_transit_time_seconds",                            Histogram, Milliseconds,     "Distribution of the time that RTCP packets spent in the bridge"),
    row!(none,                                         "rtcp_transit_time_unknown_delay_total",                "jitsi_rtcp_transit_time_unknown_delay_total",                Counter,   Plain,            "Total number of RTCP packets whose time in the bridge is not known"),

    // Traffic with endpoints
    row!("bit_rate_download",                          "incoming_bitrate",                                     "jitsi_download_bytes_per_second",                            Gauge,     KilobitsPerSecond / BitsPerSecond, "Rate of the RTP and RTCP received from endpoints, SRTP overhead included"),
    row!("bit_rate_upload",                            "outgoing_bitrate",                                     "jitsi_upload_bytes_per_second",                              Gauge,     KilobitsPerSecond / BitsPerSecond, "Rate of the RTP and RTCP sent to endpoints, SRTP overhead included"),
    row!("packet_rate_download",                       "incoming_packet_rate",                                 "jitsi_download_packets_per_second",                          Gauge,     PacketsPerSecond, "Rate of the RTP and RTCP packets received from endpoints"),
    row!("packet_rate_upload",                         "outgoing_packet_rate",                                 "jitsi_upload_packets_per_second",                            Gauge,     PacketsPerSecond, "Rate of the RTP and RTCP packets sent to endpoints"),
    row!("total_bytes_received",                       "bytes_received_total",                                 "jitsi_received_bytes_total",                                 Counter,   Bytes,            "Total RTP and RTCP received from endpoints, SRTP overhead included"),
    row!("total_bytes_sent",                           "bytes_sent_total",                                     "jitsi_sent_bytes_total",                                     Counter,   Bytes,            "Total RTP and RTCP sent to endpoints, SRTP overhead included"),
    row!("total_packets_received",                     "packets_received_total",                               "jitsi_received_packets_total",                               Counter,   Plain,            "Total number of RTP and RTCP packets received from endpoints"),
    row!("total_packets_sent",                         "packets_sent_total",                                   "jitsi_sent_packets_total",                                   Counter,   Plain,            "Total number of RTP and RTCP packets sent to endpoints"),

    // Traffic with other bridges (relays, formerly octo)
    row!("octo_receive_bitrate",                       "relay_incoming_bitrate",                               "jitsi_octo_receive_bytes_per_second",                        Gauge,     BitsPerSecond,    "Rate of the RTP and RTCP received from other bridges"),
    row!("octo_send_bitrate",                          "relay_outgoing_bitrate",                               "jitsi_octo_send_bytes_per_second",                           Gauge,     BitsPerSecond,    "Rate of the RTP and RTCP sent to other bridges"),
    row!("octo_receive_packet_rate",                   "relay_incoming_packet_rate",                           "jitsi_octo_receive_packets_per_second",                      Gauge,     PacketsPerSecond, "Rate of the RTP and RTCP packets received from other bridges"),
    row!("octo_send_packet_rate",                      "relay_outgoing_packet_rate",                           "jitsi_octo_send_packets_per_second",                         Gauge,     PacketsPerSecond, "Rate of the RTP and RTCP packets sent to other bridges"),
    row!("total_bytes_received_octo",                  "relay_bytes_received_total",                           "jitsi_octo_received_bytes_total",                            Counter,   Bytes,            "Total RTP and RTCP received from other bridges"),
    row!("total_bytes_sent_octo",                      "relay_bytes_sent_total",                               "jitsi_octo_sent_bytes_total",                                Counter,   Bytes,            "Total RTP and RTCP sent to other bridges"),
    row!("total_packets_received_octo",                "relay_packets_received_total",                         "jitsi_octo_received_packets_total",                          Counter,   Plain,            "Total number of RTP and RTCP packets received from other bridges"),
    row!("total_packets_sent_octo",                    "relay_packets_sent_total",                             "jitsi_octo_sent_packets_total",                              Counter,   Plain,            "Total number of RTP and RTCP packets sent to other bridges"),
    row!("total_relays",                               "relays_total",                                         "jitsi_relays_created_total",                                 Counter,   Plain,            "Total number of relays created; a relay is a link to another bridge"),

    // Audio and video
    row!("tossedPacketsEnergy",                        "tossed_packets_energy",                                "jitsi_tossed_packets_energy",                                Histogram, Plain,            "Distribution of the energy scores, from 0 to 127, of audio packets discarded because others were louder"),
    row!("total_keyframes_received",                   "keyframes_received_total",                             "jitsi_keyframes_received_total",                             Counter,   Plain,            "Total number of video keyframes received, updated when an endpoint or relay expires"),
    row!("total_layering_changes_received",            "layering_changes_received_total",                      "jitsi_layering_changes_received_total",                      Counter,   Plain,            "Total number of layering changes in received video, updated when an endpoint or relay expires"),
    row!("total_video_stream_milliseconds_received",   "video_milliseconds_received_total",                    "jitsi_video_stream_received_seconds_total",                  Counter,   Milliseconds,     "Total duration of received video, summed over all SSRCs, updated when an endpoint or relay expires"),
    row!("preemptive_kfr_sent",                        "preemptive_keyframe_requests_sent_total",              "jitsi_preemptive_kfr_sent_total",                            Counter,   Plain,            "Total number of preemptive keyframe requests sent, ahead of an expected speaker switch"),
    row!("preemptive_kfr_suppressed",                  "preemptive_keyframe_requests_suppressed_total",        "jitsi_preemptive_kfr_suppressed_total",                      Counter,   Plain,            "Total number of preemptive keyframe requests not sent because no endpoint is in stage view"),

    // Queues of packets and messages
    row!(none,                                         "queue_dropped_packets_total",                          "jitsi_queue_dropped_packets_total",                          Counter,   Plain,            "Total number of packets dropped from all queues"),
    row!(none,                                         "queue_exceptions_total",                               "jitsi_queue_exceptions_total",                               Counter,   Plain,            "Total number of exceptions in all queues"),
    row!(none,                                         "rtp_receiver_dropped_packets_total",                   "jitsi_rtp_receiver_dropped_packets_total",                   Counter,   Plain,            "Total number of packets dropped from the RTP receiver queues"),
    row!(none,                                         "rtp_receiver_exceptions_total",                        "jitsi_rtp_receiver_exceptions_total",                        Counter,   Plain,            "Total number of exceptions in the RTP receiver queues"),
    row!(none,                                         "rtp_sender_dropped_packets_total",                     "jitsi_rtp_sender_dropped_packets_total",                     Counter,   Plain,            "Total number of packets dropped from the RTP sender queues"),
    row!(none,                                         "rtp_sender_exceptions_total",                          "jitsi_rtp_sender_exceptions_total",                          Counter,   Plain,            "Total number of exceptions in the RTP sender queues"),
    row!(none,                                         "srtp_send_queue_dropped_packets_total",                "jitsi_srtp_send_queue_dropped_packets_total",                Counter,   Plain,            "Total number of packets dropped from the SRTP send queues of endpoints"),
    row!(none,                                         "srtp_send_queue_exceptions_total",                     "jitsi_srtp_send_queue_exceptions_total",                     Counter,   Plain,            "Total number of exceptions in the SRTP send queues of endpoints"),
    row!(none,                                         "endpoint_receive_message_queue_dropped_packets_total", "jitsi_endpoint_receive_message_queue_dropped_packets_total", Counter,   Plain,            "Total number of messages dropped from the receive queues of endpoints"),
    row!(none,                                         "endpoint_receive_message_queue_exceptions_total",      "jitsi_endpoint_receive_message_queue_exceptions_total",      Counter,   Plain,            "Total number of exceptions in the message receive queues of endpoints"),
    row!(none,                                         "colibri_queue_dropped_packets_total",                  "jitsi_colibri_queue_dropped_packets_total",                  Counter,   Plain,            "Total number of requests dropped from the queues of conferences"),
    row!(none,                                         "colibri_queue_exceptions_total",                       "jitsi_colibri_queue_exceptions_total",                       Counter,   Plain,            "Total number of exceptions in the request queues of conferences"),
    row!(none,                                         "relay_srtp_send_queue_dropped_packets_total",          "jitsi_relay_srtp_send_queue_dropped_packets_total",          Counter,   Plain,            "Total number of packets dropped from the SRTP send queues of relays"),
    row!(none,                                         "relay_srtp_send_queue_exceptions_total",               "jitsi_relay_srtp_send_queue_exceptions_total",               Counter,   Plain,            "Total number of exceptions in the SRTP send queues of relays"),
    row!(none,                                         "relay_endpoint_srtp_send_queue_dropped_packets_total", "jitsi_relay_endpoint_srtp_send_queue_dropped_packets_total", Counter,   Plain,            "Total number of packets dropped from the SRTP send queues of relayed endpoints"),
    row!(none,                                         "relay_endpoint_srtp_send_queue_exceptions_total",      "jitsi_relay_endpoint_srtp_send_queue_exceptions_total",      Counter,   Plain,            "Total number of exceptions in the SRTP send queues of relayed endpoints"),

    // Export of media to transcribers and translators. The key says exporter, which here would look like this program
    row!(none,                                         "exporter_starts_total",                                "jitsi_media_export_starts_total",                            Counter,   Plain,            "Total number of times the export of media to a transcriber or translator was started"),
    row!(none,                                         "exporter_websocket_failures_total",                    "jitsi_media_export_websocket_failures_total",                Counter,   Plain,            "Total number of WebSocket connections to a transcriber or translator that could not be made"),
    row!(none,                                         "exporter_websocket_internal_errors_total",             "jitsi_media_export_websocket_internal_errors_total",         Counter,   Plain,            "Total number of WebSocket connections that a transcriber or translator closed with code 1011, internal error"),
    row!(none,                                         "exporter_packets_sent_total",                          "jitsi_media_export_packets_sent_total",                      Counter,   Plain,            "Total number of packets sent to transcribers and translators"),
    row!(none,                                         "exporter_transcripts_received_total",                  "jitsi_media_export_transcripts_received_total",              Counter,   Plain,            "Total number of transcription results received from transcribers"),
    row!(none,                                         "exporter_media_events_received_total",                 "jitsi_media_export_media_events_received_total",             Counter,   Plain,            "Total number of messages with translated audio received from translators"),
    row!(none,                                         "exporter_sending_changes_received_total",              "jitsi_media_export_sending_changes_received_total",          Counter,   Plain,            "Total number of messages received about a translated audio source that starts or stops"),
    row!(none,                                         "exporter_info_received_total",                         "jitsi_media_export_info_received_total",                     Counter,   Plain,            "Total number of info messages received from transcribers and translators"),
    row!(none,                                         "exporter_other_messages_received_total",               "jitsi_media_export_other_messages_received_total",           Counter,   Plain,            "Total number of other messages received from transcribers and translators"),
    row!(none,                                         "exporter_parse_failures_total",                        "jitsi_media_export_parse_failures_total",                    Counter,   Plain,            "Total number of messages from transcribers and translators that could not be parsed"),

    // Statistics that a current bridge does not send
    row!("colibri2",                                   none,                                                   "jitsi_colibri2",                                             Boolean,   Plain,            "Whether the bridge supports COLIBRI v2 signalling: always 1"),
    row!("jitter_aggregate",                           none,                                                   "jitsi_jitter_aggregate_seconds",                             Gauge,     Milliseconds,     "Average absolute RTP jitter of the streams whose jitter is known"),
    row!("loss_rate_download",                         none,                                                   "jitsi_loss_rate_download",                                   Gauge,     Plain,            "Fraction of the received RTP packets that were lost"),
    row!("loss_rate_upload",                           none,                                                   "jitsi_loss_rate_upload",                                     Gauge,     Plain,            "Average over streams of the fraction of sent RTP packets that were lost"),
    row!("rtp_loss",                                   none,                                                   "jitsi_rtp_loss",                                             Gauge,     Plain,            "Fraction of the RTP packets that were lost, in both directions"),
    row!("total_loss_controlled_participant_seconds",  none,                                                   "jitsi_loss_controlled_participant_seconds_total",            Counter,   Seconds,          "Total time that participants were under control of the loss-based bandwidth estimator"),
    row!("total_loss_limited_participant_seconds",     none,                                                   "jitsi_loss_limited_participant_seconds_total",               Counter,   Seconds,          "Total time that participants were in the loss-limited state of the bandwidth estimator"),
    row!("total_loss_degraded_participant_seconds",    none,                                                   "jitsi_loss_degraded_participant_seconds_total",              Counter,   Seconds,          "Total time that participants were in the loss-degraded state of the bandwidth estimator"),
    row!("total_aimd_bwe_expirations",                 "incoming_bitrate_expirations_total",                   "jitsi_aimd_bwe_expirations_total",                           Counter,   Plain,            "Total number of times the estimate of an incoming bit rate expired"),
    row!("octo_version",                               none,                                                   "jitsi_octo_version",                                         Gauge,     Plain,            "Version of the Octo protocol that the bridge speaks"),
    row!("total_packets_dropped_octo",                 none,                                                   "jitsi_octo_dropped_packets_total",                           Counter,   Plain,            "Total number of Octo packets dropped: unparsable, of an unknown conference, or from a full queue"),
    row!("audiochannels",                              none,                                                   "jitsi_audiochannels",                                        Gauge,     Plain,            "Number of audio RTP channels, in all conferences"),
    row!("videochannels",                              none,                                                   "jitsi_videochannels",                                        Gauge,     Plain,            "Number of video RTP channels, in all conferences"),
    row!("videostreams",                               none,                                                   "jitsi_videostreams",                                         Gauge,     Plain,            "Estimated number of video streams received and forwarded"),
    row!("total_channels",                             none,                                                   "jitsi_channels_total",                                       Counter,   Plain,            "Total number of RTP channels, audio and video, in expired conferences"),
    row!("total_no_payload_channels",                  none,                                                   "jitsi_no_payload_channels_total",                            Counter,   Plain,            "Total number of RTP channels in expired conferences that never carried payload"),
    row!("total_no_transport_channels",                none,                                                   "jitsi_no_transport_channels_total",                          Counter,   Plain,            "Total number of RTP channels in expired conferences whose transport was never active"),
    row!("total_tcp_connections",                      none,                                                   "jitsi_tcp_connections_total",                                Counter,   Plain,            "Total number of ICE connections over TCP, updated when a conference expires"),
    row!("total_udp_connections",                      none,                                                   "jitsi_udp_connections_total",                                Counter,   Plain,            "Total number of ICE connections over UDP, updated when a conference expires"),
    row!("cpu_usage",                                  none,                                                   "jitsi_cpu_usage",                                            Gauge,     Plain,            "Fraction of the CPU time of the whole machine in use, from 0 to 1"),
    row!("total_memory",                               none,                                                   "jitsi_machine_memory_bytes",                                 Gauge,     Megabytes,        "Physical memory of the machine"),
    row!("used_memory",                                none,                                                   "jitsi_machine_memory_used_bytes",                            Gauge,     Megabytes,        "Physical memory of the machine in use"),
];

/// The help text of the info metric that the rows of [`Kind::Info`] share in standard names.
pub const BRIDGE_INFO_HELP: &str = "Information about the bridge (version, release, region, relay_id).";

/// The metrics about the scrape, in the order in which they are exposed. Their standard and legacy names are the same.
pub static OWN: &[Descriptor; 5] = &[
    descriptor("jitsi_up", Kind::Gauge, None, "Whether the bridge answered with statistics."),
    descriptor("jitsi_scrape_error", Kind::Info, None, "Why the scrape of the bridge failed."),
    descriptor(
        "jitsi_scrape_duration_seconds",
        Kind::Gauge,
        Some("seconds"),
        "Time taken to fetch and read the bridge's report.",
    ),
    descriptor("jitsi_unexposed_values", Kind::Gauge, None, "Number of values in the report that have no metric."),
    descriptor("jitsi_exporter_build_info", Kind::Info, None, "Information about the exporter."),
];

/// Whether the bridge answered with statistics: the place in [`OWN`].
pub const UP: usize = 0;
/// Why the bridge did not. Present only while `jitsi_up` is 0.
pub const SCRAPE_ERROR: usize = 1;
/// The duration of fetching and reading the report.
pub const SCRAPE_DURATION: usize = 2;
/// The number of values in the report that have no metric.
pub const UNEXPOSED_VALUES: usize = 3;
/// The version and the commit of the exporter.
pub const BUILD_INFO: usize = 4;

/// The beginning of the keys that prometheus-jitsi-meet-exporter exposes without the prefix `jitsi_`. With `--legacy-names` they are
/// exposed with and without the prefix.
const UNPREFIXED: &str = "total_ice_";

/// The second legacy name of a statistic, for the few that have one.
#[must_use]
pub fn unprefixed(row: &Row) -> Option<Descriptor> {
    let key = row.primary().key;
    key.starts_with(UNPREFIXED).then(|| descriptor(key, row.kind, None, row.legacy.help))
}

/// What a scrape looks up in the table. Kept compact, because most of the cost of a lookup is cache misses.
#[derive(Debug)]
pub struct Index {
    /// The numbers of the keys, each at [`Index::find`].
    places: [u16; Index::PLACES],
    /// The keys by number.
    keys: Vec<Key>,
    /// The rows, in the order of [`ROWS`].
    pub rows: Vec<IndexedRow>,
    /// The descriptors of each naming by number: those of [`OWN`], those of [`ROWS`], and the second legacy names.
    descriptors: [Vec<&'static Descriptor>; 2],
}

/// A set of rows, one bit for each.
pub type RowSet = [u64; ROWS.len().div_ceil(64)];

/// A key of the catalogue.
#[derive(Debug)]
pub struct Key {
    /// The key in the JSON.
    pub text: &'static str,
    /// The rows that use this key.
    pub rows: RowSet,
}

/// A row, with data that would otherwise be looked up in each scrape.
#[derive(Debug)]
pub struct IndexedRow {
    /// The row.
    pub row: &'static Row,
    /// The kind of the row.
    pub kind: Kind,
    /// The units of the sources, in order of preference, with the numbers of their keys.
    pub sources: [Option<(Unit, u16)>; 2],
    /// The unit of the legacy name.
    pub legacy_unit: Unit,
    /// The first row with the same name, in each naming.
    pub first_of_name: [usize; 2],
    /// The number of the second legacy name.
    pub unprefixed: Option<usize>,
}

/// The index of [`ROWS`].
pub static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let standard = OWN.iter().chain(ROWS.iter().map(|row| &row.standard)).collect();
    let legacy = OWN.iter().chain(ROWS.iter().map(|row| &row.legacy)).collect();
    let mut index = Index {
        places: [Index::FREE; Index::PLACES],
        keys: Vec::new(),
        rows: Vec::new(),
        descriptors: [standard, legacy],
    };
    for row in ROWS {
        index.add(row);
    }
    index
});

impl Index {
    /// A power of two.
    const PLACES: usize = 512;

    /// The largest number of keys, for which half of the places are free.
    pub const MAX_KEYS: usize = Self::PLACES / 2;

    /// Not the number of a key.
    const FREE: u16 = u16::MAX;

    /// A hash of a key. It is simpler than the standard library's, because the keys of the table are known.
    fn place(key: &str) -> usize {
        let word = |chunk: Option<&[u8; 8]>| chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk));
        let (first, last) = (word(key.as_bytes().first_chunk()), word(key.as_bytes().last_chunk()));
        // The multiplier, 2^64 divided by the golden ratio, spreads all bits to the highest ones.
        let hash = (first.rotate_left(17) ^ last ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        #[expect(clippy::cast_possible_truncation, reason = "less than the number of places")]
        let place = (hash >> (u64::BITS - Self::PLACES.ilog2())) as usize;
        place
    }

    /// Adds the next row.
    fn add(&mut self, row: &'static Row) {
        let place = self.rows.len();
        let mut sources = row.sources().map(|source| (source.unit, self.add_key(source.key, place)));
        let sources = [sources.next(), sources.next()];
        // Rows of one name are neighbours.
        let same = |names: fn(&Row) -> &str| self.rows.last().filter(|last| names(last.row) == names(row));
        let first_of_name = [
            same(|row| row.standard.name).map_or(place, |last| last.first_of_name[0]),
            same(|row| row.legacy.name).map_or(place, |last| last.first_of_name[1]),
        ];
        let unprefixed = unprefixed(row).map(|descriptor| {
            let legacy = &mut self.descriptors[Naming::Legacy as usize];
            legacy.push(Box::leak(Box::new(descriptor)));
            legacy.len() - 1
        });
        let legacy_unit = row.primary().unit;
        self.rows.push(IndexedRow { row, kind: row.kind, sources, legacy_unit, first_of_name, unprefixed });
    }

    /// Adds a row to a key, and returns the number of the key. A new key gets a new number.
    fn add_key(&mut self, key: &'static str, row: usize) -> u16 {
        let place = self.find(key);
        if self.places[place] == Self::FREE {
            self.places[place] = u16::try_from(self.keys.len()).expect("there are fewer keys than places");
            self.keys.push(Key { text: key, rows: RowSet::default() });
        }
        let number = self.places[place];
        self.keys[usize::from(number)].rows[row / 64] |= 1 << (row % 64);
        number
    }

    /// The place of a key: where its number is, or the first free one after [`Index::place`].
    #[inline]
    fn find(&self, key: &str) -> usize {
        let mut place = Self::place(key);
        // Ends, because half of the places are free.
        while let Some(known) = self.keys.get(usize::from(self.places[place])) {
            if known.text.len() == key.len() && compare(known.text.as_bytes(), key.as_bytes()).is_eq() {
                break;
            }
            place = (place + 1) % Self::PLACES;
        }
        place
    }

    /// The keys by number.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The descriptors by number.
    #[must_use]
    pub fn descriptors(&self, names: Naming) -> &[&'static Descriptor] {
        &self.descriptors[names as usize]
    }

    /// The number of a key.
    #[must_use]
    #[inline]
    pub fn number(&self, key: &str) -> Option<u16> {
        Some(self.places[self.find(key)]).filter(|number| *number != Self::FREE)
    }
}

/// The places of the bits that are set.
pub fn ones(mut words: RowSet) -> impl Iterator<Item = usize> {
    let mut place = 0;
    iter::from_fn(move || {
        while *words.get(place)? == 0 {
            place += 1;
        }
        let bit = words[place].trailing_zeros() as usize;
        words[place] &= words[place] - 1;
        Some(64 * place + bit)
    })
}

/// The order of two texts, like [`Ord::cmp`], but compares eight bytes at a time. `memcmp` of musl, the C library of the static builds,
/// compares single bytes.
#[must_use]
pub fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let common = one.len().min(other.len());
    let (begin, other_begin) = (&one[..common], &other[..common]);
    let word = |chunk: &[u8; 8]| u64::from_be_bytes(*chunk);
    let order = match (begin.last_chunk(), other_begin.last_chunk()) {
        // The last word can overlap the one before it, whose bytes are equal by then.
        (Some(last), Some(other_last)) => {
            let (words, other_words) =
                (begin.as_chunks().0.iter().map(word), other_begin.as_chunks().0.iter().map(word));
            words.cmp(other_words).then_with(|| word(last).cmp(&word(other_last)))
        }
        _ => begin.cmp(other_begin),
    };
    order.then(one.len().cmp(&other.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn legacy_names_are_the_keys() {
        for row in ROWS {
            let suffix = if row.kind == Kind::Info { "_info" } else { "" };
            let key = row.primary().key.replacen("exporter_", "media_export_", 1);
            assert_eq!(row.legacy.name, format!("jitsi_{key}{suffix}"));
        }
    }

    #[test]
    fn ice_counters_have_two_legacy_names() {
        for row in ROWS {
            let unprefixed = unprefixed(row);
            assert_eq!(unprefixed.is_some(), row.primary().key.starts_with(UNPREFIXED), "{}", row.legacy.name);
            assert!(unprefixed.is_none_or(|descriptor| descriptor.help == row.legacy.help));
        }
        assert!(ROWS.iter().any(|row| unprefixed(row).is_some()));
    }

    #[test]
    fn each_key_has_one_place() {
        let mut stats = HashSet::new();
        let mut native: HashMap<&str, Vec<&Row>> = HashMap::new();
        for row in ROWS {
            assert!(row.stats.is_none_or(|source| stats.insert(source.key)), "{:?} is there twice", row.stats);
            if let Some(source) = row.native {
                native.entry(source.key).or_default().push(row);
            }
        }
        for (key, rows) in native {
            // /colibri/stats contains two keys for a number that the bridge counts once.
            assert!(rows.len() == 1 || key == "current_endpoints", "{key} is there twice");
            // A key has one meaning in both places.
            let elsewhere = stats.get(key).filter(|_| rows.iter().all(|row| row.primary().key != key));
            assert_eq!(elsewhere, None, "{key} is two statistics");
        }
    }

    #[test]
    fn finds_each_key() {
        let mut feeds: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, (row, indexed)) in ROWS.iter().zip(&INDEX.rows).enumerate() {
            let keys: Vec<_> = indexed.sources.iter().flatten().map(|(_, key)| usize::from(*key)).collect();
            assert_eq!(
                row.sources().map(|source| usize::from(INDEX.number(source.key).unwrap())).collect::<Vec<_>>(),
                keys
            );
            for key in keys {
                feeds.entry(INDEX.keys()[key].text).or_default().push(number);
            }
        }
        assert_eq!(feeds.len(), INDEX.keys().len());
        assert!(INDEX.keys().iter().all(|key| feeds[key.text] == ones(key.rows).collect::<Vec<_>>()));
        let distance = |key: &Key| INDEX.find(key.text).wrapping_sub(Index::place(key.text)) % Index::PLACES;
        let farthest = INDEX.keys().iter().map(distance).max();
        assert!(farthest <= Some(8), "a key is {farthest:?} places away");
        assert!(INDEX.keys().len() <= Index::MAX_KEYS, "double Index::PLACES");
        assert_eq!(INDEX.number("no_such_statistic"), None);
        assert_eq!(INDEX.number(""), None);
        assert_eq!(INDEX.number(&"x".repeat(1000)), None);
    }

    #[test]
    fn compares_like_the_standard_library() {
        let texts =
            ["", "a", "abcdefg", "abcdefgh", "abcdefghi", "abcdefgz", "abcdefghabcdefgh", "abcdefgh\u{e4}", "b"];
        for (one, other) in texts.iter().flat_map(|one| texts.map(|other| (one, other))) {
            assert_eq!(compare(one.as_bytes(), other.as_bytes()), (*one).cmp(other), "{one} {other}");
        }
    }

    #[test]
    fn rows_of_one_name_are_neighbours() {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (index, row) in ROWS.iter().enumerate() {
            if let Some(before) = seen.insert(row.standard.name, index) {
                assert_eq!(before + 1, index, "{} is in two places", row.standard.name);
                assert_eq!(ROWS[before].kind, row.kind, "{} is of two kinds", row.standard.name);
            }
        }
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for row in ROWS {
            let name = row.standard.name;
            assert!(name.starts_with("jitsi_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), row.kind == Kind::Counter, "{name}");
            assert!(row.standard.has_suffix(), "{name}");
            assert_eq!(name.ends_with("_info"), row.kind == Kind::Info, "{name}");
        }
    }

    #[test]
    fn unit_is_the_suffix_of_the_family() {
        let units = ["seconds", "bytes", "bytes_per_second", "packets_per_second"];
        for row in ROWS {
            let family = row.standard.family_name();
            let suffix = units.into_iter().rev().find(|unit| family.ends_with(&format!("_{unit}")));
            for source in row.sources() {
                assert_eq!(source.unit.base(), suffix, "{} in {}", row.standard.name, source.key);
            }
        }
    }

    #[test]
    fn families_are_distinct() {
        for names in [|row: &'static Row| &row.standard, |row: &'static Row| &row.legacy] {
            let mut families: HashMap<&str, &str> = HashMap::new();
            for row in ROWS {
                let descriptor = names(row);
                if let Some(name) = families.insert(descriptor.family_name(), descriptor.name) {
                    assert_eq!(name, descriptor.name, "{} and {name} are one family", descriptor.name);
                }
            }
        }
    }

    #[test]
    fn help_is_one_sentence_that_names_the_keys() {
        for row in ROWS {
            let (sentence, keys) = row.legacy.help.rsplit_once(" (").expect("the keys are in brackets at the end");
            let keys = keys.strip_suffix(").").expect("a full stop after them");
            assert!(!sentence.contains(". "), "{sentence}: more than one sentence");
            assert!(!sentence.contains(['"', '\\', '\n']), "{sentence}: would need escaping");
            assert!(sentence.starts_with(|c: char| c.is_ascii_uppercase()), "{sentence}: lower case");
            let words: Vec<_> = keys.split([' ', ',']).collect();
            for source in row.sources() {
                assert!(words.contains(&source.key), "{keys}: lacks {}", source.key);
            }
        }
        let labels: Vec<_> = ROWS.iter().filter(|row| row.kind == Kind::Info).map(|row| row.primary().key).collect();
        assert!(BRIDGE_INFO_HELP.ends_with(&format!(" ({}).", labels.join(", "))), "{labels:?}");
    }

    /// If a row lists two units, they measure the same quantity, and the legacy name uses the first.
    #[test]
    fn units_of_a_row_have_one_base() {
        for row in ROWS {
            assert!(row.sources().all(|source| source.unit.base() == row.standard.unit), "{}", row.standard.name);
        }
    }
}
