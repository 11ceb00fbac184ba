//! The table: one row for each statistic that any release of the Jitsi Videobridge ever sent.
//!
//! This module knows names, kinds, units and help texts, and nothing of JSON, of naming schemes or of formats. To teach the
//! exporter a new statistic, add a row; nothing else needs a change but the generated files, which
//! `make generate` updates.
//!
//! The facts are those of the bridge's own source history, from build 205 (August 2014) to 2.3-312 (August 2026), held
//! against running bridges with live calls.

use std::sync::LazyLock;

/// What a statistic is, and so how it is exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that can go up and down.
    Gauge,
    /// A number that only grows until the bridge restarts. Negative and NaN values are not exposed: OpenMetrics forbids both.
    Counter,
    /// `true` or `false`, exposed as a gauge of 1 or 0.
    Boolean,
    /// A wall-clock time, exposed as a gauge in Unix time.
    Timestamp,
    /// A string, exposed as a label of an info metric that all rows of one name share.
    Info,
    /// An array in which element *i* counts the conferences with exactly *i* members, the last element that many or more.
    Sizes,
    /// The one nested object of 2021 bridges: a histogram that accumulates since the bridge started.
    Histogram,
}

/// The unit in which the bridge sends a number. A unit that is no base unit of Prometheus is converted, and only then does
/// the help text name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A count, a ratio, or nothing with a unit.
    Plain,
    /// Seconds.
    Seconds,
    /// Milliseconds, exposed in seconds.
    Milliseconds,
    /// `yyyy-MM-dd HH:mm:ss.SSS` in UTC, exposed in seconds since 1970.
    DateTime,
    /// Bytes.
    Bytes,
    /// Megabytes of 10^6 bytes, exposed in bytes.
    Megabytes,
    /// Kilobits (1000 bits) per second, exposed in bytes per second.
    KilobitsPerSecond,
    /// Bits per second, exposed in bytes per second. (Releases before 2.1-158 sent the two octo rates in kilobits.)
    BitsPerSecond,
    /// Packets per second.
    PacketsPerSecond,
}

impl Unit {
    /// The base unit in which the value is exposed: the suffix of the name, and what `# UNIT` says.
    #[must_use]
    pub const fn base(self) -> Option<&'static str> {
        match self {
            Unit::Plain => None,
            Unit::Seconds | Unit::Milliseconds | Unit::DateTime => Some("seconds"),
            Unit::Bytes | Unit::Megabytes => Some("bytes"),
            Unit::KilobitsPerSecond | Unit::BitsPerSecond => Some("bytes_per_second"),
            Unit::PacketsPerSecond => Some("packets_per_second"),
        }
    }
}

/// What a family of samples is called and what it says of itself.
#[derive(Debug)]
pub struct Descriptor {
    /// The name of the sample as Prometheus stores it, suffixes included.
    pub name: &'static str,
    /// The name less the suffix of the kind (`_total`, `_info`) and less the unit: what an OpenMetrics encoder starts from,
    /// which puts both behind it again. Made with the table, because looking for suffixes took 5% of a scrape.
    pub stem: &'static str,
    /// The unit, which is a suffix of the name.
    pub unit: Option<&'static str>,
    /// One sentence, safe to be written as it is.
    pub help: &'static str,
}

impl Descriptor {
    const fn new(name: &'static str, suffix: &str, unit: Option<&'static str>, help: &'static str) -> Self {
        let unit_length = match unit {
            Some(unit) => "_".len() + unit.len(),
            None => 0,
        };
        let (stem, _) = name.split_at(name.len() - suffix.len() - unit_length);
        Self { name, stem, unit, help }
    }
}

/// One statistic.
#[derive(Debug)]
pub struct Row {
    /// The key in the bridge's report.
    pub key: &'static str,
    /// What it is.
    pub kind: Kind,
    /// In which unit the bridge sends it.
    pub unit: Unit,
    /// In standard names. The help is one sentence that ends with the key and, if the value is converted, the bridge's unit.
    pub standard: Descriptor,
    /// In legacy names: `jitsi_` and the key, as older exporters have it.
    pub legacy: Descriptor,
}

/// One line of the table. The help text is completed here with the key and the unit, so that a search for the bridge's own
/// name finds the metric.
macro_rules! row {
    ($key:literal, $name:literal, $kind:ident, $unit:ident, $help:literal) => {
        row!(@row $key, $name, $kind, $unit, concat!($help, " (", $key, row!(@converted $unit), ")."))
    };
    (@row $key:literal, $name:literal, Info, $unit:ident, $help:expr) => {
        Row {
            key: $key,
            kind: Kind::Info,
            unit: Unit::$unit,
            standard: Descriptor::new($name, "_info", None, BRIDGE_INFO_HELP),
            legacy: Descriptor::new(concat!("jitsi_", $key, "_info"), "_info", None, $help),
        }
    };
    (@row $key:literal, $name:literal, $kind:ident, $unit:ident, $help:expr) => {
        Row {
            key: $key,
            kind: Kind::$kind,
            unit: Unit::$unit,
            standard: Descriptor::new($name, row!(@suffix $kind), Unit::$unit.base(), $help),
            legacy: Descriptor::new(concat!("jitsi_", $key), "", None, $help),
        }
    };
    (@suffix Counter) => { "_total" };
    (@suffix $kind:ident) => { "" };
    (@converted Milliseconds) => { ", milliseconds" };
    (@converted DateTime) => { ", yyyy-MM-dd HH:mm:ss.SSS" };
    (@converted Megabytes) => { ", megabytes" };
    (@converted KilobitsPerSecond) => { ", kilobits per second" };
    (@converted BitsPerSecond) => { ", bits per second" };
    (@converted $base:ident) => { "" };
}

/// Every statistic, in the order in which it is exposed. Where two rows have one name (but for info), they are neighbours
/// and the first wins.
#[rustfmt::skip]
pub static ROWS: &[Row] = &[
    //   key in the report                             name in Prometheus                                      kind       unit               help
    // The bridge itself
    row!("version",                                    "jitsi_bridge_info",                                    Info,      Plain,             "Version of the bridge"),
    row!("release",                                    "jitsi_bridge_info",                                    Info,      Plain,             "Release identifier set by the operator in videobridge.version.release"),
    row!("region",                                     "jitsi_bridge_info",                                    Info,      Plain,             "Region this bridge is configured with, used by Jicofo for bridge selection"),
    row!("relay_id",                                   "jitsi_bridge_info",                                    Info,      Plain,             "Identifier of this bridge for its links to other bridges, address:port in the octo era"),
    row!("healthy",                                    "jitsi_healthy",                                        Boolean,   Plain,             "Result of the latest internal health check"),
    row!("drain",                                      "jitsi_drain",                                          Boolean,   Plain,             "Whether the bridge is in drain mode: it keeps its conferences and wants no new ones"),
    row!("graceful_shutdown",                          "jitsi_graceful_shutdown",                              Boolean,   Plain,             "Whether the bridge has been put in graceful shutdown and takes no new conferences"),
    row!("shutting_down",                              "jitsi_shutting_down",                                  Boolean,   Plain,             "Whether the bridge is about to stop, at the end of a graceful shutdown or by force"),
    row!("stress_level",                               "jitsi_stress_level",                                   Gauge,     Plain,             "Load of the bridge relative to its configured limit: 0 idle, 1 fully loaded, more when overloaded"),
    row!("average_participant_stress",                 "jitsi_average_participant_stress",                     Gauge,     Plain,             "Configured estimate of how much stress one more participant adds"),
    row!("threads",                                    "jitsi_threads",                                        Gauge,     Plain,             "Number of live threads in the JVM"),
    row!("current_timestamp",                          "jitsi_report_timestamp_seconds",                       Timestamp, DateTime,          "Time at which the report was produced, as Unix time"),

    // Conferences
    row!("conferences",                                "jitsi_conferences",                                    Gauge,     Plain,             "Number of conferences currently hosted by the bridge"),
    row!("largest_conference",                         "jitsi_largest_conference",                             Gauge,     Plain,             "Number of endpoints in the biggest current conference"),
    row!("inactive_conferences",                       "jitsi_inactive_conferences",                           Gauge,     Plain,             "Current conferences in which no endpoint sends audio or video, those that went peer-to-peer included"),
    row!("p2p_conferences",                            "jitsi_p2p_conferences",                                Gauge,     Plain,             "Inactive conferences with exactly two endpoints, presumed to be talking directly to each other"),
    row!("octo_conferences",                           "jitsi_octo_conferences",                               Gauge,     Plain,             "Current conferences that span several bridges"),
    row!("total_conferences_created",                  "jitsi_conferences_created_total",                      Counter,   Plain,             "Conferences created"),
    row!("total_conferences_completed",                "jitsi_conferences_completed_total",                    Counter,   Plain,             "Conferences that have ended"),
    row!("total_conferences",                          "jitsi_conferences_completed_total",                    Counter,   Plain,             "Conferences that have ended, under the name that builds 773 to 780 used"),
    row!("total_conference_seconds",                   "jitsi_conference_seconds_total",                       Counter,   Seconds,           "Sum of the durations of conferences that have ended"),
    row!("total_dominant_speaker_changes",             "jitsi_dominant_speaker_changes_total",                 Counter,   Plain,             "Times the dominant speaker changed, in any conference"),

    // Endpoints: who is in the conferences
    row!("participants",                               "jitsi_participants",                                   Gauge,     Plain,             "Number of endpoints in all conferences"),
    row!("endpoints",                                  "jitsi_endpoints",                                      Gauge,     Plain,             "Number of endpoints in all conferences, local plus those connected through other bridges"),
    row!("local_endpoints",                            "jitsi_local_endpoints",                                Gauge,     Plain,             "Endpoints connected directly to this bridge"),
    row!("octo_endpoints",                             "jitsi_octo_endpoints",                                 Gauge,     Plain,             "Endpoints of local conferences that are connected to other bridges"),
    row!("visitors",                                   "jitsi_visitors",                                       Gauge,     Plain,             "Number of visitor endpoints now connected to this bridge"),
    row!("inactive_endpoints",                         "jitsi_inactive_endpoints",                             Gauge,     Plain,             "Endpoints that are in inactive conferences"),
    row!("local_active_endpoints",                     "jitsi_local_active_endpoints",                         Gauge,     Plain,             "Endpoints connected to this bridge that are in a conference where somebody sends audio or video"),
    row!("receive_only_endpoints",                     "jitsi_receive_only_endpoints",                         Gauge,     Plain,             "Local endpoints in active conferences that send neither audio nor video"),
    row!("endpoints_sending_audio",                    "jitsi_endpoints_sending_audio",                        Gauge,     Plain,             "Local endpoints currently sending non-silence audio"),
    row!("endpoints_sending_video",                    "jitsi_endpoints_sending_video",                        Gauge,     Plain,             "Local endpoints currently sending video"),
    row!("endpoints_with_suspended_sources",           "jitsi_endpoints_with_suspended_sources",               Gauge,     Plain,             "Local endpoints for which forwarding of some video source is suspended because of the bandwidth estimate"),
    row!("num_eps_oversending",                        "jitsi_num_eps_oversending",                            Gauge,     Plain,             "Local endpoints the bridge is currently sending more to than the bandwidth estimate allows"),
    row!("endpoints_with_spurious_remb",               "jitsi_endpoints_with_spurious_remb_total",             Counter,   Plain,             "Endpoints that sent a REMB message although transport-cc was in use for them"),
    row!("endpoints_disconnected",                     "jitsi_endpoints_disconnected_total",                   Counter,   Plain,             "Times an endpoint was judged inactive/disconnected because nothing had arrived from it for a while"),
    row!("endpoints_reconnected",                      "jitsi_endpoints_reconnected_total",                    Counter,   Plain,             "Times an endpoint became active again after having been judged disconnected"),
    row!("total_participants",                         "jitsi_participants_created_total",                     Counter,   Plain,             "Endpoints created on this bridge"),
    row!("total_visitors",                             "jitsi_visitors_created_total",                         Counter,   Plain,             "Visitor endpoints created"),

    // Connecting: ICE, DTLS, the message transport, signalling
    row!("total_ice_succeeded",                        "jitsi_ice_succeeded_total",                            Counter,   Plain,             "ICE agents that connected"),
    row!("total_ice_succeeded_relayed",                "jitsi_ice_succeeded_relayed_total",                    Counter,   Plain,             "ICE agents that connected through a TURN relay"),
    row!("total_ice_failed",                           "jitsi_ice_failed_total",                               Counter,   Plain,             "ICE agents that failed to connect"),
    row!("endpoints_ice_failed",                       "jitsi_endpoints_ice_failed_total",                     Counter,   Plain,             "Endpoints whose ICE negotiation failed"),
    row!("relays_ice_failed",                          "jitsi_relays_ice_failed_total",                        Counter,   Plain,             "Relays whose ICE negotiation failed"),
    row!("dtls_failed_endpoints",                      "jitsi_dtls_failed_endpoints_total",                    Counter,   Plain,             "Endpoints whose ICE connected but whose DTLS handshake had not completed when they expired"),
    row!("dtls_failed_relays",                         "jitsi_dtls_failed_relays_total",                       Counter,   Plain,             "Relays whose ICE connected but whose DTLS handshake had not completed when they expired"),
    row!("num_eps_no_msg_transport_after_delay",       "jitsi_num_eps_no_msg_transport_after_delay_total",     Counter,   Plain,             "Endpoints that had neither WebSocket nor data channel 30 seconds after the check was scheduled"),
    row!("num_relays_no_msg_transport_after_delay",    "jitsi_num_relays_no_msg_transport_after_delay_total",  Counter,   Plain,             "Relays that had no message transport 30 seconds after the check was scheduled"),
    row!("muc_clients_configured",                     "jitsi_muc_clients_configured",                         Gauge,     Plain,             "Number of XMPP MUC clients configured"),
    row!("muc_clients_connected",                      "jitsi_muc_clients_connected",                          Gauge,     Plain,             "Number of XMPP MUC clients currently connected"),
    row!("mucs_configured",                            "jitsi_mucs_configured",                                Gauge,     Plain,             "Number of MUC rooms configured to be joined"),
    row!("mucs_joined",                                "jitsi_mucs_joined",                                    Gauge,     Plain,             "Number of configured MUC rooms that are joined"),

    // Quality
    row!("incoming_loss",                              "jitsi_incoming_loss",                                  Gauge,     Plain,             "Fraction of packets from endpoints to the bridge that were lost, 0 to 1"),
    row!("outgoing_loss",                              "jitsi_outgoing_loss",                                  Gauge,     Plain,             "Fraction of packets from the bridge to endpoints that were reported lost, 0 to 1"),
    row!("overall_loss",                               "jitsi_overall_loss",                                   Gauge,     Plain,             "Fraction of packets lost, both directions together, 0 to 1"),
    row!("endpoints_with_high_outgoing_loss",          "jitsi_endpoints_with_high_outgoing_loss",              Gauge,     Plain,             "Local endpoints in active conferences whose bridge-to-endpoint packet loss is above 10 percent"),
    row!("rtt_aggregate",                              "jitsi_rtt_aggregate_seconds",                          Gauge,     Milliseconds,      "Average round-trip time over local endpoints with a valid RTCP measurement"),
    row!("tcc_unmatched_feedback",                     "jitsi_tcc_unmatched_feedback",                         Gauge,     Plain,             "Sum, over local endpoints connected now, of transport-cc feedback reports that did not match any sent packet"),

    // Traffic with endpoints
    row!("bit_rate_download",                          "jitsi_download_bytes_per_second",                      Gauge,     KilobitsPerSecond, "Current media bit rate received from endpoints"),
    row!("bit_rate_upload",                            "jitsi_upload_bytes_per_second",                        Gauge,     KilobitsPerSecond, "Current media bit rate sent to endpoints"),
    row!("packet_rate_download",                       "jitsi_download_packets_per_second",                    Gauge,     PacketsPerSecond,  "Current rate of RTP and RTCP packets received from endpoints"),
    row!("packet_rate_upload",                         "jitsi_upload_packets_per_second",                      Gauge,     PacketsPerSecond,  "Current rate of RTP and RTCP packets sent to endpoints"),
    row!("total_bytes_received",                       "jitsi_received_bytes_total",                           Counter,   Bytes,             "Bytes of RTP and RTCP received from endpoints, SRTP overhead included"),
    row!("total_bytes_sent",                           "jitsi_sent_bytes_total",                               Counter,   Bytes,             "Bytes of RTP and RTCP sent to endpoints, SRTP overhead included"),
    row!("total_packets_received",                     "jitsi_received_packets_total",                         Counter,   Plain,             "RTP and RTCP packets received from endpoints"),
    row!("total_packets_sent",                         "jitsi_sent_packets_total",                             Counter,   Plain,             "RTP and RTCP packets sent to endpoints"),
    row!("total_colibri_web_socket_messages_received", "jitsi_colibri_web_socket_messages_received_total",     Counter,   Plain,             "Bridge-channel messages received over WebSocket"),
    row!("total_colibri_web_socket_messages_sent",     "jitsi_colibri_web_socket_messages_sent_total",         Counter,   Plain,             "Bridge-channel messages sent over WebSocket"),
    row!("total_data_channel_messages_received",       "jitsi_data_channel_messages_received_total",           Counter,   Plain,             "Bridge-channel messages received over SCTP data channels"),
    row!("total_data_channel_messages_sent",           "jitsi_data_channel_messages_sent_total",               Counter,   Plain,             "Bridge-channel messages sent over SCTP data channels"),

    // Traffic with other bridges (relays, formerly octo)
    row!("octo_receive_bitrate",                       "jitsi_octo_receive_bytes_per_second",                  Gauge,     BitsPerSecond,     "Current bit rate arriving from other bridges"),
    row!("octo_send_bitrate",                          "jitsi_octo_send_bytes_per_second",                     Gauge,     BitsPerSecond,     "Current bit rate sent to other bridges"),
    row!("octo_receive_packet_rate",                   "jitsi_octo_receive_packets_per_second",                Gauge,     PacketsPerSecond,  "Current packet rate arriving from other bridges"),
    row!("octo_send_packet_rate",                      "jitsi_octo_send_packets_per_second",                   Gauge,     PacketsPerSecond,  "Current packet rate sent to other bridges"),
    row!("total_bytes_received_octo",                  "jitsi_octo_received_bytes_total",                      Counter,   Bytes,             "Bytes received from other bridges"),
    row!("total_bytes_sent_octo",                      "jitsi_octo_sent_bytes_total",                          Counter,   Bytes,             "Bytes sent to other bridges"),
    row!("total_packets_received_octo",                "jitsi_octo_received_packets_total",                    Counter,   Plain,             "Packets received from other bridges"),
    row!("total_packets_sent_octo",                    "jitsi_octo_sent_packets_total",                        Counter,   Plain,             "Packets sent to other bridges"),
    row!("total_relays",                               "jitsi_relays_created_total",                           Counter,   Plain,             "Relays created, the links to other bridges"),

    // Video
    row!("total_keyframes_received",                   "jitsi_keyframes_received_total",                       Counter,   Plain,             "Video keyframes received, added when an endpoint or relay expires"),
    row!("total_layering_changes_received",            "jitsi_layering_changes_received_total",                Counter,   Plain,             "Times the layering of a received video stream changed, added when an endpoint or relay expires"),
    row!("total_video_stream_milliseconds_received",   "jitsi_video_stream_received_seconds_total",            Counter,   Milliseconds,      "Duration of received video, each SSRC counted separately, added when an endpoint or relay expires"),
    row!("preemptive_kfr_sent",                        "jitsi_preemptive_kfr_sent_total",                      Counter,   Plain,             "Keyframe requests sent ahead of an expected speaker switch"),
    row!("preemptive_kfr_suppressed",                  "jitsi_preemptive_kfr_suppressed_total",                Counter,   Plain,             "Preemptive keyframe requests not sent because nobody watches in stage view"),

    // No longer sent by a current bridge
    row!("conference_sizes",                           "jitsi_conference_sizes",                               Sizes,     Plain,             "Current conferences by number of endpoints, local and relayed, the last bucket standing for that many or more"),
    row!("conferences_by_audio_senders",               "jitsi_conferences_by_audio_senders",                   Sizes,     Plain,             "Current conferences by number of local endpoints that are sending audio, the last bucket standing for that many or more"),
    row!("conferences_by_video_senders",               "jitsi_conferences_by_video_senders",                   Sizes,     Plain,             "Current conferences by number of local endpoints that are sending video, the last bucket standing for that many or more"),
    row!("colibri2",                                   "jitsi_colibri2",                                       Boolean,   Plain,             "Always 1: this bridge supports the COLIBRI v2 signalling"),
    row!("total_failed_conferences",                   "jitsi_failed_conferences_total",                       Counter,   Plain,             "Ended conferences in which every connection failed"),
    row!("total_partially_failed_conferences",         "jitsi_partially_failed_conferences_total",             Counter,   Plain,             "Ended conferences in which some but not all connections failed"),
    row!("jitter_aggregate",                           "jitsi_jitter_aggregate_seconds",                       Gauge,     Milliseconds,      "Average absolute RTP jitter over streams with a known value"),
    row!("loss_rate_download",                         "jitsi_loss_rate_download",                             Gauge,     Plain,             "Fraction of incoming RTP packets lost"),
    row!("loss_rate_upload",                           "jitsi_loss_rate_upload",                               Gauge,     Plain,             "Average over streams of the fraction of outgoing RTP packets lost"),
    row!("rtp_loss",                                   "jitsi_rtp_loss",                                       Gauge,     Plain,             "RTP packet loss fraction, both directions"),
    row!("tossedPacketsEnergy",                        "jitsi_tossed_packets_energy",                          Histogram, Plain,             "Energy score, 0 to 127, of audio packets discarded because the speaker was not among the loudest"),
    row!("total_loss_controlled_participant_seconds",  "jitsi_loss_controlled_participant_seconds_total",      Counter,   Seconds,           "Participant-seconds during which the loss-based bandwidth controller was in charge"),
    row!("total_loss_limited_participant_seconds",     "jitsi_loss_limited_participant_seconds_total",         Counter,   Seconds,           "Participant-seconds in the loss-limited state of the bandwidth estimator"),
    row!("total_loss_degraded_participant_seconds",    "jitsi_loss_degraded_participant_seconds_total",        Counter,   Seconds,           "Participant-seconds in the loss-degraded state of the bandwidth estimator"),
    row!("total_aimd_bwe_expirations",                 "jitsi_aimd_bwe_expirations_total",                     Counter,   Plain,             "Times an incoming bit rate estimate expired, which would otherwise have suspended video, added when an endpoint expires"),
    row!("total_ice_succeeded_tcp",                    "jitsi_ice_succeeded_tcp_total",                        Counter,   Plain,             "ICE agents that connected over TCP"),
    row!("octo_version",                               "jitsi_octo_version",                                   Gauge,     Plain,             "Version of the Octo protocol the bridge speaks"),
    row!("total_packets_dropped_octo",                 "jitsi_octo_dropped_packets_total",                     Counter,   Plain,             "Octo packets dropped: unparsable, of an unknown conference, or for want of room in a queue"),
    row!("audiochannels",                              "jitsi_audiochannels",                                  Gauge,     Plain,             "Number of audio RTP channels currently allocated, all conferences together"),
    row!("videochannels",                              "jitsi_videochannels",                                  Gauge,     Plain,             "Number of video channels currently allocated"),
    row!("videostreams",                               "jitsi_videostreams",                                   Gauge,     Plain,             "Estimated number of video streams received and forwarded now"),
    row!("total_channels",                             "jitsi_channels_total",                                 Counter,   Plain,             "RTP channels, audio and video, that existed in expired conferences"),
    row!("total_no_payload_channels",                  "jitsi_no_payload_channels_total",                      Counter,   Plain,             "Channels of expired conferences that never carried RTP/RTCP payload"),
    row!("total_no_transport_channels",                "jitsi_no_transport_channels_total",                    Counter,   Plain,             "Channels of expired conferences whose transport never saw activity"),
    row!("total_tcp_connections",                      "jitsi_tcp_connections_total",                          Counter,   Plain,             "ICE connections established over TCP, added when the conference expires"),
    row!("total_udp_connections",                      "jitsi_udp_connections_total",                          Counter,   Plain,             "ICE connections established over UDP, added when the conference expires"),
    row!("cpu_usage",                                  "jitsi_cpu_usage",                                      Gauge,     Plain,             "CPU usage of the whole machine as a fraction from 0 to 1"),
    row!("total_memory",                               "jitsi_machine_memory_bytes",                           Gauge,     Megabytes,         "Physical memory of the machine"),
    row!("used_memory",                                "jitsi_machine_memory_used_bytes",                      Gauge,     Megabytes,         "Physical memory of the machine in use"),
];

/// The help text of the info metric that the rows of [`Kind::Info`] share in standard names.
pub const BRIDGE_INFO_HELP: &str = "What the bridge says of itself (version, release, region, relay_id).";

/// Whether the bridge answered with statistics. The first line of every answer.
pub static UP: Descriptor = Descriptor::new("jitsi_up", "", None, "Whether the bridge answered with statistics.");

/// Why it did not; only there when `jitsi_up` is 0.
pub static SCRAPE_ERROR: Descriptor =
    Descriptor::new("jitsi_scrape_error", "", None, "Why the bridge gave no statistics.");

/// The duration of the one fetch and of reading its answer.
pub static SCRAPE_DURATION: Descriptor = Descriptor::new(
    "jitsi_scrape_duration_seconds",
    "",
    Some("seconds"),
    "How long fetching and reading the report of the bridge took.",
);

/// What the report holds beyond the metrics made of it.
pub static UNEXPOSED_VALUES: Descriptor =
    Descriptor::new("jitsi_unexposed_values", "", None, "Values of this report that have no metric.");

/// The exporter.
pub static BUILD_INFO: Descriptor =
    Descriptor::new("jitsi_exporter_build_info", "_info", None, "The exporter that gave this answer.");

/// The metrics about the scrape, in the order in which they are exposed. They have one name in both namings.
pub static OWN: &[&Descriptor] = &[&UP, &SCRAPE_ERROR, &SCRAPE_DURATION, &UNEXPOSED_VALUES, &BUILD_INFO];

/// The four ICE counters by the name that they have in prometheus-jitsi-meet-exporter, the only ones there without `jitsi_`.
/// In legacy names they are exposed under both names.
#[must_use]
pub fn unprefixed(key: &str) -> Option<&'static Descriptor> {
    static UNPREFIXED: [Descriptor; 4] = [
        Descriptor::new("total_ice_succeeded", "", None, "ICE agents that connected (total_ice_succeeded)."),
        Descriptor::new(
            "total_ice_succeeded_relayed",
            "",
            None,
            "ICE agents that connected through a TURN relay (total_ice_succeeded_relayed).",
        ),
        Descriptor::new(
            "total_ice_succeeded_tcp",
            "",
            None,
            "ICE agents that connected over TCP (total_ice_succeeded_tcp).",
        ),
        Descriptor::new("total_ice_failed", "", None, "ICE agents that failed to connect (total_ice_failed)."),
    ];
    UNPREFIXED.iter().find(|descriptor| descriptor.name == key)
}

/// The keys by their length, and those of one length in order: most of a search is then one look into a table.
static BY_LENGTH: LazyLock<Vec<Vec<(&'static str, usize)>>> = LazyLock::new(|| {
    let longest = ROWS.iter().map(|row| row.key.len()).max().unwrap_or_default();
    let mut keys = vec![Vec::new(); longest + 1];
    for (index, row) in ROWS.iter().enumerate() {
        keys[row.key.len()].push((row.key, index));
    }
    for keys in &mut keys {
        keys.sort_unstable();
    }
    keys
});

/// The place in [`ROWS`] of the statistic that the bridge sends under `key`.
#[must_use]
pub fn position(key: &str) -> Option<usize> {
    let keys = BY_LENGTH.get(key.len())?;
    keys.binary_search_by_key(&key, |(own, _)| own).ok().map(|found| keys[found].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    /// The name of the family in OpenMetrics: that of the sample, less the suffix of its kind.
    fn family(row: &Row) -> &str {
        match row.kind {
            Kind::Counter => row.standard.name.strip_suffix("_total").expect("a counter ends in _total"),
            Kind::Info => row.standard.name.strip_suffix("_info").expect("an info metric ends in _info"),
            _ => row.standard.name,
        }
    }

    #[test]
    fn the_stem_is_the_family_without_its_unit() {
        for row in ROWS {
            let stem = row
                .unit
                .base()
                .map_or_else(|| family(row).to_owned(), |unit| family(row).replace(&format!("_{unit}"), ""));
            assert_eq!(row.standard.stem, stem);
            let legacy = format!("jitsi_{}", row.key);
            assert_eq!(row.legacy.stem, legacy);
            let suffix = if row.kind == Kind::Info { "_info" } else { "" };
            assert_eq!(row.legacy.name, format!("{legacy}{suffix}"));
        }
    }

    #[test]
    fn the_ice_counters_have_two_legacy_names() {
        for row in ROWS {
            let unprefixed = unprefixed(row.key);
            assert_eq!(unprefixed.is_some(), row.key.starts_with("total_ice_"), "{}", row.key);
            assert_eq!(unprefixed.map_or(row.legacy.help, |descriptor| descriptor.help), row.legacy.help);
        }
    }

    #[test]
    fn has_every_statistic_of_every_release_once() {
        assert_eq!(ROWS.len(), 113);
        let keys: HashSet<_> = ROWS.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), ROWS.len());
    }

    #[test]
    fn finds_each_row_by_its_key() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(position(row.key), Some(index));
        }
        assert_eq!(position("no_such_statistic"), None);
    }

    #[test]
    fn rows_of_one_name_are_info_or_neighbours() {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (index, row) in ROWS.iter().enumerate() {
            if let Some(before) = seen.insert(row.standard.name, index) {
                assert_eq!(before + 1, index, "{} stands in two places", row.standard.name);
                assert_eq!(ROWS[before].kind, row.kind, "{} is of two kinds", row.standard.name);
            }
        }
        let shared =
            ROWS.windows(2).filter(|pair| pair[0].standard.name == pair[1].standard.name && pair[0].kind != Kind::Info);
        let shared: Vec<_> = shared.map(|pair| (pair[0].key, pair[1].key)).collect();
        assert_eq!(shared, [("total_conferences_completed", "total_conferences")]);
    }

    #[test]
    fn names_are_those_that_prometheus_recommends() {
        for row in ROWS {
            assert!(row.standard.name.starts_with("jitsi_"), "{}", row.standard.name);
            assert!(
                row.standard.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{}",
                row.standard.name
            );
            assert_eq!(row.standard.name.ends_with("_total"), row.kind == Kind::Counter, "{}", row.standard.name);
            assert_eq!(row.standard.name.ends_with("_info"), row.kind == Kind::Info, "{}", row.standard.name);
        }
    }

    #[test]
    fn the_unit_is_the_suffix_of_the_family() {
        let units = ["seconds", "bytes", "bytes_per_second", "packets_per_second"];
        for row in ROWS {
            let suffix = units.into_iter().rev().find(|unit| family(row).ends_with(&format!("_{unit}")));
            assert_eq!(row.unit.base(), suffix, "{}", row.standard.name);
        }
    }

    #[test]
    fn no_two_openmetrics_families_have_one_name() {
        let mut families: HashMap<&str, &str> = HashMap::new();
        for row in ROWS {
            if let Some(name) = families.insert(family(row), row.standard.name) {
                assert_eq!(name, row.standard.name, "{} and {name} are one family", row.standard.name);
            }
        }
    }

    #[test]
    fn help_is_one_sentence_that_names_the_key() {
        for row in ROWS {
            let sentence =
                row.legacy.help.strip_suffix(").").unwrap_or_else(|| panic!("{}: {}", row.key, row.legacy.help));
            assert!(!sentence.contains(". "), "{}: more than one sentence", row.key);
            assert!(!sentence.contains(['"', '\\', '\n']), "{}: would need escaping", row.key);
            assert!(sentence.contains(&format!(" ({}", row.key)), "{}: help lacks the key", row.key);
            assert!(sentence.starts_with(|c: char| c.is_ascii_uppercase()), "{}: begins small", row.key);
        }
        let labels: Vec<_> = ROWS.iter().filter(|row| row.kind == Kind::Info).map(|row| row.key).collect();
        assert!(BRIDGE_INFO_HELP.ends_with(&format!(" ({}).", labels.join(", "))), "{labels:?}");
    }
}
