//! A row from bytes: any value that the types allow.

use std::net::IpAddr;

use uuid::Uuid;

use super::Input;
use crate::record::{
    Actor, ActorType, Exchange, Measured, Micros, Outcome, RequestId, Row, SharedText, Text,
    properties,
};

pub(crate) fn row(input: &mut Input<'_>) -> Row {
    let id = uuid(input);
    Row {
        id,
        caller_id: input.byte() & 1 == 1,
        ts: Micros(input.number().cast_signed()),
        event: text(input),
        request_id: match input.byte() % 4 {
            0 => None,
            1 => Some(RequestId::Uuid(id)),
            2 => Some(RequestId::Uuid(uuid(input))),
            _ => Some(RequestId::Adopted(input.text().into())),
        },
        actor: Actor {
            user_id: input.optional(text),
            user_role: input.optional(text),
            org_id: input.optional(text),
            kind: input.optional(kind),
            on_behalf_of: input.optional(shared),
        },
        exchange: input.optional(exchange),
        trace_id: input.optional(|input| uuid(input).into_bytes()),
        trace_trusted: input.byte() & 1 == 1,
        distinct_id: input.optional(shared),
        on_request_of: None,
        measured: Measured::default(),
        properties: input.optional(Input::text).and_then(|json| {
            let map = serde_json::from_str(&json).ok()?;
            properties::freeze(map)
        }),
    }
}

fn exchange(input: &mut Input<'_>) -> Exchange {
    let route = input.optional(text);
    let path = match (&route, input.byte() & 1) {
        (Some(route), 1) => route.clone(),
        _ => text(input),
    };
    Exchange {
        method: text(input),
        path,
        route,
        status_code: input.optional(|input| u16::from(input.byte()) * 257),
        outcome: match input.byte() & 1 {
            0 => Outcome::Success,
            _ => Outcome::Failure,
        },
        error_code: input.optional(shared),
        // What a column holds.
        duration_us: input.number() >> 1,
        user_agent: input.optional(shared),
        ip: input.optional(|input| match input.byte() & 1 {
            0 => IpAddr::from((u32::from(input.byte()) << 24 | 0x01_0203).to_be_bytes()),
            _ => IpAddr::from(uuid(input).into_bytes()),
        }),
        upstream_request_id: input.optional(shared),
    }
}

fn kind(input: &mut Input<'_>) -> ActorType {
    match input.byte() % 5 {
        0 => ActorType::User,
        1 => ActorType::Service,
        2 => ActorType::ApiKey,
        3 => ActorType::Anonymous,
        _ => ActorType::System,
    }
}

fn text(input: &mut Input<'_>) -> Text {
    match input.byte() % 8 {
        0 => "api_request".into(),
        1 => "GET".into(),
        // A UUID in each of the ways in which it is written.
        2 => uuid(input).to_string().into(),
        3 => uuid(input).to_string().to_uppercase().into(),
        4 => uuid(input).simple().to_string().into(),
        _ => input.text().into(),
    }
}

fn shared(input: &mut Input<'_>) -> SharedText {
    text(input).into()
}

fn uuid(input: &mut Input<'_>) -> Uuid {
    Uuid::from_u64_pair(input.number(), input.number())
}
