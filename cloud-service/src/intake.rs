//! Rows from the wire to the engine: everything about them that can be checked without running
//! them.

use crate::cloud::Cloud;
use tandem_codec::{DecodeError, FrameHeader, Limits};
use tandem_engine::{RowsInput, RowsStep, Want};
use tandem_proto::v1;
use tandem_shape::Reason;
use tandem_status::{bad_request, failure};
use tandem_wire::MAX_DRAFT_ROWS;
use tonic::{Code, Status};

/// Rows that are what they say they are.
#[derive(Debug)]
pub struct CheckedRows {
    /// Their epoch.
    pub epoch: u32,
    /// Hidden values they hold.
    pub values: usize,
    /// Bytes of their frame.
    pub frame_bytes: usize,
    /// The step that runs them.
    pub step: RowsStep,
}

impl CheckedRows {
    /// Checks a message of a session whose split is `split` and context `context`, and whose rows may be of drafts or not.
    ///
    /// # Errors
    /// As docs/protocol.md lists them under `Rows`.
    pub fn check(
        rows: v1::Rows,
        split: usize,
        (context, drafts): (usize, bool),
        cloud: &Cloud,
    ) -> Result<Self, Status> {
        let count = rows.count.max(1) as usize;
        let want = match v1::Want::try_from(rows.want) {
            Ok(v1::Want::Unspecified) => Want::Nothing,
            Ok(v1::Want::Token) => Want::Token,
            Ok(v1::Want::EachToken) if drafts => Want::EachToken,
            Ok(v1::Want::EachToken) => {
                let problem = "wants each token without FEATURE_DRAFTS";
                return Err(invalid("rows.want", problem.to_owned()));
            }
            Err(_) => return Err(invalid("rows.want", format!("{} is unknown", rows.want))),
        };
        let is_of_drafts = want == Want::EachToken;
        if is_of_drafts && count > MAX_DRAFT_ROWS {
            let problem = format!("{count} rows want a token each, {MAX_DRAFT_ROWS} may");
            return Err(invalid("rows.count", problem));
        }
        if count > context {
            return Err(invalid(
                "rows.count",
                format!("{count} is above the context of {context}"),
            ));
        }
        check_token_ids(&rows, count, (split, is_of_drafts), cloud)?;
        let frame_bytes = rows.frame.len();
        let (input, token_ids, values) = if split == 0 {
            (RowsInput::Tokens(rows.token_ids), Vec::new(), 0)
        } else {
            let header = check_frame(&rows, context, cloud)?;
            if header.rows != count {
                let problem = format!("is {count}, the frame has {} rows", header.rows);
                return Err(invalid("rows.count", problem));
            }
            let values = header.rows * header.hidden;
            (RowsInput::Frames(vec![rows.frame]), rows.token_ids, values)
        };
        Ok(Self {
            epoch: rows.epoch,
            values,
            frame_bytes,
            step: RowsStep {
                epoch: rows.epoch,
                start: rows.start as usize,
                count,
                skip: 0,
                input,
                token_ids,
                want,
                room: None,
            },
        })
    }
}

fn check_token_ids(
    rows: &v1::Rows,
    count: usize,
    (split, are_needed): (usize, bool),
    cloud: &Cloud,
) -> Result<(), Status> {
    let ids = rows.token_ids.len();
    if split == 0 && !rows.frame.is_empty() {
        return Err(invalid(
            "rows.frame",
            "must be absent with split 0".to_owned(),
        ));
    }
    if ids != count && (split == 0 || are_needed || ids != 0) {
        return Err(invalid(
            "rows.token_ids",
            format!("{ids} ids for {count} rows"),
        ));
    }
    let vocabulary = cloud.config.vocabulary;
    match rows.token_ids.iter().find(|&&id| id as usize >= vocabulary) {
        Some(id) => Err(invalid(
            "rows.token_ids",
            format!("{id} is outside the vocabulary of {vocabulary}"),
        )),
        None => Ok(()),
    }
}

fn check_frame(rows: &v1::Rows, context: usize, cloud: &Cloud) -> Result<FrameHeader, Status> {
    let length = rows.frame.len();
    if length > cloud.max_frame {
        let problem = format!(
            "{length} bytes are more than the granted {}",
            cloud.max_frame
        );
        return Err(invalid("rows.frame", problem));
    }
    let found = crc32c::crc32c(&rows.frame);
    if found != rows.crc32c {
        return Err(failure(
            Code::DataLoss,
            Reason::Checksum,
            format!(
                "the frame at position {} arrived damaged: CRC-32C is {found:08x}, said {:08x}",
                rows.start, rows.crc32c
            ),
        ));
    }
    let limits = Limits {
        max_rows: context,
        hidden: cloud.config.hidden,
    };
    FrameHeader::read(&rows.frame, limits)
        .map(|(header, _)| header)
        .map_err(|error| match error {
            // What else is wrong with a payload is found when it is decoded.
            DecodeError::TooShort { .. } => {
                bad_request(Reason::Frame, [("rows.frame", error.to_string())])
            }
            _ => invalid("rows.frame", error.to_string()),
        })
}

fn invalid(field: &'static str, problem: String) -> Status {
    bad_request(Reason::Rows, [(field, problem)])
}
