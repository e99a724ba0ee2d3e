/* Ends one reading of structs.def: no include guard, it is meant to be included many times. */
#undef BEGIN
#undef U8
#undef U32
#undef U64
#undef I64
#undef F64
#undef ENUM
#undef STR
#undef BYTES
#undef I64S
#undef F64S
#undef SUB
#undef LIST
#undef END
