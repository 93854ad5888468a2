use std::{sync::Arc, time::Instant};
use super::*;
use crate::error::DeliveryError;
pub(crate) struct Cells; impl Cells { pub(crate) fn set_place(&self, _: u16, _: TopicId, _: i32) {} pub(crate) fn is_pending(&self, _: u16)->bool{true} pub(crate) fn place(&self,_:u16)->Option<(TopicId,i32)>{None} }
pub(crate) struct Run; impl Run { pub(crate) fn start(_: &Arc<Cells>, _: u16)->Self{Run} pub(crate) fn extend(&mut self, _: &Arc<Cells>, _: u16)->bool{true} pub(crate) fn contains(&self, _: &Arc<Cells>, _: u16)->bool{true} pub(crate) fn len(&self)->u16{1} }
pub(crate) struct Settling; impl Settling { pub(crate) fn new()->Self{Settling} pub(crate) fn acknowledge(&mut self,_:Run,_:Option<i64>,_:Option<i64>){} pub(crate) fn fail(&mut self,_:Run,_:DeliveryError){} pub(crate) fn finish(self){} pub(crate) fn wake(&mut self){} }
pub(crate) struct Promise; 
pub(crate) enum Level { AnyRecord, AnyChunk, ManyChunks, NothingButUrgent }
pub(crate) fn charge(n: usize)->usize{n+64}
pub(crate) struct Chunk; pub(crate) struct RecordView<'a>{pub(crate) topic: TopicId, pub(crate) partition:i32, pub(crate) timestamp:i64, pub(crate) body:&'a [u8], pub(crate) cell:u16, pub(crate) callback: Option<PendingCallback>}
impl Chunk { pub(crate) fn cells(&self)->&Arc<Cells>{todo!()} pub(crate) fn opened(&self)->Instant{todo!()} pub(crate) fn take_next(&mut self)->Option<RecordView<'_>>{None} }
