<%@ page session="true" contentType="text/plain; charset=UTF-8" trimDirectiveWhitespaces="true" %>
<%
    Integer n = (Integer) session.getAttribute("n");
    n = n == null ? 1 : n + 1;
    session.setAttribute("n", n);
    out.print(n + " " + session.getId() + " " + session.getCreationTime() + " " + System.getenv("TANDEM_NODE"));
%>
