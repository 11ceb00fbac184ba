//! A simulated bridge for `--demo`: its reports follow the course of a day.
//!
//! Not part of the scrape path: the exporter asks this bridge over a loopback port like any other. A report depends only on the
//! time, so two requests at one moment get the same, and counters only grow. The bridge has every statistic of a current one, and
//! in `/colibri/stats` also the distributions that bridges sent there until 2024, so that every panel of the dashboards has data.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::metrics::catalogue::{ROWS, Row, Source};
use crate::metrics::report::date_time;
use crate::serve::http::{self, Handler, Request, Response, StatusCode};

/// The simulated bridge.
#[derive(Debug)]
pub struct Demo;

impl Handler for Demo {
    fn respond(&self, request: &Request) -> Response {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match request.uri().path() {
            "/colibri/stats" => http::ok("application/json", stats(now)),
            "/metrics" => http::ok("application/json", native(now)),
            _ => http::text(
                StatusCode::NOT_FOUND,
                "the simulated bridge of jitsiexporter --demo has /colibri/stats and /metrics",
            ),
        }
    }
}

/// The response of `/colibri/stats` at a time since 1970.
#[must_use]
pub fn stats(now: Duration) -> String {
    report(now, |row| row.stats)
}

/// The response of the bridge's own `/metrics`, as JSON, at a time since 1970.
#[must_use]
pub fn native(now: Duration) -> String {
    report(now, |row| row.native)
}

/// The statistics that have a key in this source, each in the unit of the source.
fn report(now: Duration, source: fn(&Row) -> Option<Source>) -> String {
    let moment = Moment::at(now);
    let mut members = BTreeMap::new();
    for row in ROWS {
        let primary = row.primary();
        let (Some(Source { key, unit }), Some(value)) = (source(row), moment.value(primary.key)) else { continue };
        let text = match value {
            Simulated::Number(number) => {
                let ((times, over), (over_again, times_again)) = (primary.unit.ratio(), unit.ratio());
                (number * f64::from(times * times_again) / f64::from(over * over_again)).to_string()
            }
            Simulated::Flag(flag) => flag.to_string(),
            Simulated::Text(text) => format!("\"{text}\""),
            Simulated::Observations(distribution) if row.stats.is_some_and(|stats| stats.key == key) => {
                distribution.as_in_stats()
            }
            Simulated::Observations(distribution) => distribution.as_buckets(),
        };
        members.insert(key, text);
    }
    let members: Vec<_> = members.into_iter().map(|(key, text)| format!("\"{key}\":{text}")).collect();
    format!("{{{}}}", members.join(","))
}

/// The value of a statistic.
enum Simulated {
    Number(f64),
    Flag(bool),
    Text(String),
    Observations(Observations),
}

struct Observations {
    /// The upper bounds of the buckets. The last bucket has none.
    bounds: Vec<u32>,
    /// The number of observations in each bucket, the last one included.
    counts: Vec<u64>,
    sum: u64,
}

impl Observations {
    /// The form of `/colibri/stats`: an array if there is a bucket for each number, otherwise the object of 2021.
    fn as_in_stats(&self) -> String {
        if self.bounds.iter().copied().eq(0..LAST_SIZE) {
            return format!("{:?}", self.counts);
        }
        let mut buckets = String::new();
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            let _ = write!(buckets, "\"<= {bound}\":{count},");
        }
        if let (Some(bound), Some(count)) = (self.bounds.last(), self.counts.last()) {
            let _ = write!(buckets, "\"> {bound}\":{count}");
        }
        let count: u64 = self.counts.iter().sum();
        format!("{{\"total_value\":{},\"total_count\":{count},\"buckets\":{{{buckets}}}}}", self.sum)
    }

    /// The form of the bridge's own metrics.
    fn as_buckets(&self) -> String {
        let bounds = self.bounds.iter().map(|bound| format!("{bound}.0")).chain(["+Inf".to_owned()]);
        let mut cumulative = 0;
        let mut buckets = String::new();
        for (bound, count) in bounds.zip(&self.counts) {
            cumulative += count;
            let _ = write!(buckets, "\"bucket_le_{bound}\":{cumulative}.0,");
        }
        format!("{{{buckets}\"count\":{cumulative}.0,\"sum\":{}.0,\"created\":{STARTED}.0}}", self.sum)
    }
}

/// When the simulated bridge started: Monday, 2 November 2026, in seconds since 1970.
const STARTED: u32 = 1_793_577_600;

/// How many endpoints there are at each hour of a working day, in UTC.
const DAY: [u8; 24] = [9, 7, 6, 6, 7, 10, 18, 40, 78, 104, 112, 108, 92, 96, 110, 116, 108, 86, 64, 52, 44, 34, 22, 14];

/// How busy the days of a week are, from Monday on.
const WEEK: [f64; 7] = [0.95, 1.0, 1.0, 0.97, 0.85, 0.35, 0.3];

/// The sizes of conferences, one after the other until all endpoints have one.
const SIZES: [u32; 13] = [3, 5, 2, 8, 4, 2, 3, 12, 2, 6, 25, 3, 4];

/// The maximum of [`DAY`], against which crowding is measured.
const CROWD: f64 = 116.0;

/// Conferences of this size and larger ones share a bucket.
const LAST_SIZE: u32 = 21;

/// How many endpoints there are at a whole hour since the start.
fn endpoints_at(hour: u64) -> f64 {
    let (day, hour) = (hour / 24 % 7, hour % 24);
    f64::from(DAY[usize::try_from(hour).unwrap_or_default()]) * WEEK[usize::try_from(day).unwrap_or_default()]
}

/// Like a sine of period 1, made of parabolas, so that its digits are the same on every platform.
fn wave(phase: f64) -> f64 {
    let phase = phase.fract();
    if phase < 0.5 { 16.0 * phase * (0.5 - phase) } else { -16.0 * (phase - 0.5) * (1.0 - phase) }
}

/// A conference of the simulation.
struct Conference {
    size: u32,
    audio: u32,
    video: u32,
}

/// The simulation at one moment.
struct Moment {
    now: Duration,
    /// The time that all endpoints together have been connected since the start, in hours.
    endpoint_hours: f64,
    conferences: Vec<Conference>,
    endpoints: f64,
    /// Endpoints that are connected to another bridge.
    relayed: f64,
    /// A factor around 1, by which measured values vary within minutes.
    unrest: f64,
}

impl Moment {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "hours and endpoints are small and not negative"
    )]
    fn at(now: Duration) -> Self {
        let seconds = now.as_secs_f64();
        let hours = (seconds - f64::from(STARTED)).max(0.0) / 3600.0;
        let (hour, part) = (hours as u64, hours.fract());
        // Linear between two hours.
        let from = endpoints_at(hour);
        let present = from + (endpoints_at(hour + 1) - from) * part;
        let during = |hours: std::ops::Range<u64>| -> f64 {
            hours.map(|hour| f64::midpoint(endpoints_at(hour), endpoints_at(hour + 1))).sum()
        };
        let (weeks, hour_of_week) = (hour / 168, hour % 168);
        let endpoint_hours =
            f64::from(weeks as u32) * during(0..168) + during(0..hour_of_week) + f64::midpoint(from, present) * part;

        let ripple = 1.0 + 0.08 * wave(seconds / 1800.0) + 0.05 * wave(seconds / 420.0);
        let endpoints = (present * ripple).max(1.0) as u32;
        let mut left = endpoints;
        let mut sizes = Vec::new();
        while left > 0 {
            sizes.push(SIZES[sizes.len() % SIZES.len()].min(left));
            left -= sizes[sizes.len() - 1];
        }
        let conference = |(number, size): (usize, u32)| {
            // Some conferences of two talk to each other directly.
            let is_p2p = size == 2 && number % 5 == 2;
            let (audio, video) = if is_p2p { (0, 0) } else { (1 + size / 6, size.min(2 + size / 2)) };
            Conference { size, audio, video }
        };
        let conferences: Vec<_> = sizes.into_iter().enumerate().map(conference).collect();
        Self {
            now,
            endpoint_hours,
            endpoints: f64::from(endpoints),
            // One in each conference that spans several bridges.
            relayed: conferences.iter().map(|conference| u32::from(conference.size > 3)).sum::<u32>().into(),
            conferences,
            unrest: 1.0 + 0.3 * wave(seconds / 470.0) + 0.2 * wave(seconds / 97.0),
        }
    }

    /// The number of conferences that match.
    fn count(&self, matches: impl Fn(&Conference) -> bool) -> f64 {
        self.sum(|conference| matches(conference).into())
    }

    /// The sum of a property over all conferences.
    fn sum(&self, of: impl Fn(&Conference) -> u32) -> f64 {
        self.conferences.iter().map(of).sum::<u32>().into()
    }

    /// The distribution of the conferences by a property, as the bridge counts them.
    fn distribution(&self, of: impl Fn(&Conference) -> u32) -> Simulated {
        let mut counts = vec![0; LAST_SIZE as usize + 1];
        for conference in &self.conferences {
            counts[of(conference).min(LAST_SIZE) as usize] += 1;
        }
        let sum = self.conferences.iter().map(|conference| u64::from(of(conference))).sum();
        Simulated::Observations(Observations { bounds: (0..LAST_SIZE).collect(), counts, sum })
    }

    /// The observations since the start: upper bounds, and how many come per endpoint hour.
    fn observations(&self, buckets: &[(u32, f64)]) -> Simulated {
        let counts: Vec<_> = buckets.iter().map(|(_, per_hour)| self.total(*per_hour)).chain([0]).collect();
        let sum = buckets.iter().zip(&counts).map(|((bound, _), count)| u64::from(*bound) * count).sum();
        Simulated::Observations(Observations { bounds: buckets.iter().map(|(bound, _)| *bound).collect(), counts, sum })
    }

    /// The number of events since the start, at this rate per endpoint hour.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far from 2^53 and not negative")]
    fn total(&self, per_hour: f64) -> u64 {
        (self.endpoint_hours * per_hour) as u64
    }

    /// The value of a statistic, by its key in `/colibri/stats`, or if it has none there, in the bridge's own metrics.
    fn value(&self, key: &str) -> Option<Simulated> {
        if let Some((_, per_hour)) = PER_ENDPOINT_HOUR.iter().find(|(own, _)| *own == key) {
            return Some(Simulated::Number((self.endpoint_hours * per_hour).floor()));
        }
        let seconds = self.now.as_secs_f64();
        let (endpoints, unrest) = (self.endpoints, self.unrest);
        let local = endpoints - self.relayed;
        // Quality suffers when the bridge is crowded.
        let crowd = endpoints / CROWD;
        let loss = (0.002 + 0.006 * crowd * crowd) * unrest;
        // In kilobits per second.
        let download = ((self.sum(|conference| conference.audio) * 38.0
            + self.sum(|conference| conference.video) * 820.0)
            * unrest.sqrt())
        .floor();
        let upload = (self.sum(|conference| conference.size * conference.video.min(5)) * 310.0 * unrest.sqrt()).floor();
        Some(match key {
            "version" => Simulated::Text("2.3.312-demo".to_owned()),
            "release" => Simulated::Text("1".to_owned()),
            "region" => Simulated::Text("demo".to_owned()),
            "relay_id" => Simulated::Text("demo-bridge".to_owned()),
            "current_timestamp" => Simulated::Text(date_time(UNIX_EPOCH + self.now)),
            "healthy" => Simulated::Flag(true),
            "drain" | "graceful_shutdown" | "shutting_down" => Simulated::Flag(false),
            "conference_sizes" => self.distribution(|conference| conference.size),
            "conferences_by_audio_senders" => self.distribution(|conference| conference.audio),
            "conferences_by_video_senders" => self.distribution(|conference| conference.video),
            // Discarded audio is mostly quiet.
            "tossedPacketsEnergy" => self.observations(&ENERGY),
            "rtp_transit_time" | "rtcp_transit_time" => self.observations(&TRANSIT),
            _ => Simulated::Number(match key {
                "stress_level" => 0.03 + 0.75 * crowd * unrest.sqrt(),
                "average_participant_stress" => 0.01,
                "startup_time" => f64::from(STARTED) * 1000.0,
                "threads" => 60.0 + (endpoints * 0.3).floor(),
                "jvm_heap_used" => {
                    6e8 + (((seconds - f64::from(STARTED)) / 41.0).fract().abs() * 9e8 * (0.2 + crowd)).floor()
                }
                "jvm_heap_committed" => 2_147_483_648.0,
                "jvm_gc_count" => ((seconds - f64::from(STARTED)).max(0.0) / 41.0).floor(),
                "jvm_gc_time" => ((seconds - f64::from(STARTED)).max(0.0) / 41.0).floor() * 19.0,
                "jvm_open_fd_count" => 214.0 + local,
                "cpu_steal" => 0.004 * unrest,
                "conferences" => self.count(|_| true),
                "largest_conference" => {
                    self.conferences.iter().map(|conference| f64::from(conference.size)).fold(0.0, f64::max)
                }
                "inactive_conferences" => self.count(|conference| conference.audio + conference.video == 0),
                "p2p_conferences" => {
                    self.count(|conference| conference.audio + conference.video == 0 && conference.size == 2)
                }
                "octo_conferences" => self.count(|conference| conference.size > 3),
                "endpoints" | "participants" => endpoints,
                "local_endpoints" => local,
                "octo_endpoints" => self.relayed,
                "visitors" => (endpoints * 0.1).floor(),
                "inactive_endpoints" => endpoints - self.sum_of_active(),
                "local_active_endpoints" => self.sum_of_active() - self.relayed,
                "receive_only_endpoints" => {
                    (self.sum_of_active() - self.relayed - self.sum(|conference| conference.video)).max(0.0)
                }
                "endpoints_sending_audio" => self.sum(|conference| conference.audio),
                "endpoints_sending_video" => self.sum(|conference| conference.video),
                "endpoints_with_high_outgoing_loss" => (local * loss * 4.0).floor(),
                "endpoints_with_suspended_sources" => (local * 0.03 * unrest).floor(),
                "num_eps_oversending" => (local * 0.02 * unrest).floor(),
                "tcc_unmatched_feedback" => (local * 0.5).floor(),
                "muc_clients_configured" | "muc_clients_connected" | "mucs_configured" | "mucs_joined" => 1.0,
                "incoming_loss" => loss * 0.7,
                "outgoing_loss" => loss * 1.4,
                "overall_loss" => loss,
                "rtt_aggregate" => 38.0 + 22.0 * crowd + 6.0 * (unrest - 1.0),
                "bit_rate_download" => download,
                "bit_rate_upload" => upload,
                "packet_rate_download" => (download / 7.0).floor(),
                "packet_rate_upload" => (upload / 7.5).floor(),
                "octo_receive_bitrate" => (self.relayed * 1_900_000.0 * unrest.sqrt()).floor(),
                "octo_send_bitrate" => (self.relayed * 2_300_000.0 * unrest.sqrt()).floor(),
                "octo_receive_packet_rate" => (self.relayed * 240.0 * unrest.sqrt()).floor(),
                "octo_send_packet_rate" => (self.relayed * 290.0 * unrest.sqrt()).floor(),
                _ => return None,
            }),
        })
    }

    /// The number of endpoints in active conferences.
    fn sum_of_active(&self) -> f64 {
        self.sum(|conference| if conference.audio + conference.video == 0 { 0 } else { conference.size })
    }
}

/// The rates of events, per endpoint hour.
const PER_ENDPOINT_HOUR: &[(&str, f64)] = &[
    ("total_conferences_created", 0.5),
    ("total_conferences_completed", 0.499),
    ("total_conference_seconds", 1_028.0),
    ("total_dominant_speaker_changes", 14.0),
    ("total_participants", 1.9),
    ("total_visitors", 0.19),
    ("total_relays", 0.05),
    ("endpoints_disconnected", 0.21),
    ("endpoints_reconnected", 0.18),
    ("endpoints_with_spurious_remb", 0.002),
    ("total_ice_succeeded", 1.88),
    ("total_ice_succeeded_relayed", 0.11),
    ("total_ice_failed", 0.011),
    ("endpoints_ice_failed", 0.01),
    ("relays_ice_failed", 0.0005),
    ("ice_restarts_started_total", 0.04),
    ("ice_restarts_succeeded_total", 0.036),
    ("ice_restarts_failed_total", 0.002),
    ("ice_restarts_superseded_total", 0.001),
    ("ice_restarts_rejected_total", 0.0),
    ("ice_restarts_not_established_total", 0.0005),
    ("ice_restarts_agent_creation_failed_total", 0.0),
    ("dtls_failed_endpoints", 0.003),
    ("dtls_failed_relays", 0.0001),
    ("num_eps_no_msg_transport_after_delay", 0.004),
    ("num_relays_no_msg_transport_after_delay", 0.0002),
    ("total_colibri_web_socket_messages_received", 60.0),
    ("total_colibri_web_socket_messages_sent", 140.0),
    ("colibri_web_socket_close_normal_total", 1.7),
    ("colibri_web_socket_close_abnormal_total", 0.16),
    ("colibri_web_socket_error_total", 0.02),
    ("total_data_channel_messages_received", 0.0),
    ("total_data_channel_messages_sent", 0.0),
    ("rejected_data_channels_total", 0.0),
    ("xmpp_disconnects_total", 0.0004),
    ("total_bytes_received", 223_000_000.0),
    ("total_bytes_sent", 480_000_000.0),
    ("total_packets_received", 223_000.0),
    ("total_packets_sent", 480_000.0),
    ("total_bytes_received_octo", 90_000_000.0),
    ("total_bytes_sent_octo", 108_000_000.0),
    ("total_packets_received_octo", 90_000.0),
    ("total_packets_sent_octo", 108_000.0),
    ("total_keyframes_received", 41.0),
    ("total_layering_changes_received", 17.0),
    ("total_video_stream_milliseconds_received", 2_160_000.0),
    ("preemptive_kfr_sent", 9.0),
    ("preemptive_kfr_suppressed", 2.5),
    ("queue_dropped_packets_total", 0.9),
    ("queue_exceptions_total", 0.002),
    ("rtp_receiver_dropped_packets_total", 0.3),
    ("rtp_receiver_exceptions_total", 0.001),
    ("rtp_sender_dropped_packets_total", 0.2),
    ("rtp_sender_exceptions_total", 0.001),
    ("srtp_send_queue_dropped_packets_total", 0.4),
    ("srtp_send_queue_exceptions_total", 0.0),
    ("endpoint_receive_message_queue_dropped_packets_total", 0.0),
    ("endpoint_receive_message_queue_exceptions_total", 0.0),
    ("colibri_queue_dropped_packets_total", 0.0),
    ("colibri_queue_exceptions_total", 0.0),
    ("relay_srtp_send_queue_dropped_packets_total", 0.1),
    ("relay_srtp_send_queue_exceptions_total", 0.0),
    ("relay_endpoint_srtp_send_queue_dropped_packets_total", 0.05),
    ("relay_endpoint_srtp_send_queue_exceptions_total", 0.0),
    ("exporter_starts_total", 0.02),
    ("exporter_websocket_failures_total", 0.001),
    ("exporter_websocket_internal_errors_total", 0.0005),
    ("exporter_packets_sent_total", 3_600.0),
    ("exporter_transcripts_received_total", 12.0),
    ("exporter_media_events_received_total", 30.0),
    ("exporter_sending_changes_received_total", 1.5),
    ("exporter_info_received_total", 0.02),
    ("exporter_other_messages_received_total", 0.04),
    ("exporter_parse_failures_total", 0.0005),
    ("rtp_transit_time_unknown_delay_total", 4.0),
    ("rtcp_transit_time_unknown_delay_total", 0.2),
];

/// The time that packets spend in the bridge: upper bounds of the buckets in milliseconds, and packets per endpoint hour.
const TRANSIT: [(u32, f64); 4] = [(0, 1_400.0), (5, 110_000.0), (50, 700.0), (500, 3.0)];

/// The energy scores of discarded audio packets: upper bounds of the buckets, and packets per endpoint hour.
const ENERGY: [(u32, f64); 17] = [
    (0, 40.0),
    (7, 310.0),
    (15, 520.0),
    (23, 610.0),
    (31, 540.0),
    (39, 430.0),
    (47, 300.0),
    (55, 190.0),
    (63, 110.0),
    (71, 60.0),
    (79, 30.0),
    (87, 14.0),
    (95, 6.0),
    (103, 2.5),
    (111, 1.0),
    (119, 0.4),
    (127, 0.1),
];
